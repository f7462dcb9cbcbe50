"""Draw the folder of an evaluation as if a large screen had been predicted: numbers are random, files are real.

Used by `mscnn bench report`, and by tests of the report.
Shapes: W wells (a field each), K mechanisms, F features.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from mscnn.core import csv_safe, files
from mscnn.data.pixels import quality
from mscnn.data.tables.splits import SplitRecord
from mscnn.data.tables.wells import well_name
from mscnn.evaluation import aggregate, results
from mscnn.evaluation.results import EvaluationDescription

CONTROL, CHANNELS, DOSES = "DMSO", ["DNA", "tubulin", "actin", "ER"], (1.0, 10.0)
PLANES = [["actin", "tubulin", "DNA"], [None, None, "ER"]]
SHAPES = {6: (2, 3), 24: (4, 6), 96: (8, 12), 384: (16, 24), 1536: (32, 48)}  # rows and columns of plates
PICTURES = 8  # different ones


@dataclass(frozen=True)
class DrawnScreen:
    """What is drawn."""

    plates: int = 2
    wells: int = 96               # of a plate, of SHAPES
    compounds: int = 12           # at two doses each
    mechanisms: int = 3
    known: float = 0.5            # share of compounds whose mechanism is known
    controls: int = 8             # wells of a plate
    features: int = 16            # of a profile
    picture: int = 96             # pixels of a side; 0: no pictures
    names: tuple[str, ...] = ()   # of the first compounds
    decided: bool = True          # with decisions.csv and quality.parquet
    predicted: bool = True        # else there is no mechanism to predict


def draw(screen: DrawnScreen, out: Path) -> Path:
    """Write all files of an evaluation into a folder and return it."""
    out.mkdir(parents=True)
    rng = np.random.default_rng(0)
    wells = _wells(screen)
    classes = [f"mechanism {number}" for number in range(screen.mechanisms)] if screen.predicted else []
    of_class = rng.dirichlet(np.full(len(classes), 0.3), len(wells)) if classes else np.zeros((len(wells), 0))
    fields = pd.concat([wells, pd.DataFrame(of_class, columns=[f"Probability_{name}" for name in classes])], axis=1)
    predicted = np.array(classes)[of_class.argmax(axis=1)] if classes else np.full(len(wells), "")
    fields.insert(len(wells.columns), "Predicted_MOA", predicted)
    results.write(fields, _description(classes), out)
    profiles = rng.normal(size=(len(wells), screen.features)) + 2 * of_class[:, :1].sum(axis=1, keepdims=True)
    pd.concat([wells, aggregate.embedding(profiles)], axis=1).to_parquet(out / results.PROFILES, index=False)
    treatments = wells[wells["Metadata_Compound"] != CONTROL].drop_duplicates(
        ["Metadata_Compound", "Metadata_Concentration"]).reset_index(drop=True)
    if screen.decided:
        csv_safe.write_csv(_decisions(treatments, fields, classes, rng), out / results.DECISIONS)
        _quality(wells, rng).to_parquet(out / results.QUALITY, index=False)
    if screen.picture:
        _pictures(treatments, wells, screen.picture, out / "gallery", rng)
    return out


def _wells(screen: DrawnScreen) -> pd.DataFrame:
    """Return the metadata of a field per well; controls first, then treatments in turn over all plates."""
    names = [*screen.names, *(f"compound {number:04}" for number in range(len(screen.names), screen.compounds))]
    num_known = screen.known * screen.compounds
    treatments = [(name, dose, f"mechanism {number % screen.mechanisms}" if number < num_known else "")
                  for number, name in enumerate(names[:screen.compounds]) for dose in DOSES]
    _, columns = SHAPES[screen.wells]
    rows = []
    for plate in range(screen.plates):
        for well in range(screen.wells):
            turn = plate * (screen.wells - screen.controls) + well - screen.controls
            treated = treatments[turn % len(treatments)]
            rows.append((f"P{plate + 1:02}", f"Week{plate // 4 + 1}", well_name(*divmod(well, columns)), "1", "1",
                         *((CONTROL, np.nan, CONTROL) if well < screen.controls else treated)))
    names_of = ("Plate", "Week", "Well", "Site", "Replicate", "Compound", "Concentration", "MOA")
    return pd.DataFrame(rows, columns=[f"Metadata_{name}" for name in names_of])


def _description(classes: list[str]) -> EvaluationDescription:
    split = SplitRecord("none", [], "", sha256="0" * 64, sites={"train": 0, "test": 0, "unused": 0},
                        trained={"compounds": [], "mechanisms": classes, "weeks": []}, unlearnable=[])
    return EvaluationDescription(
        checkpoint="run/checkpoints/last.safetensors", step=1, compounds=[], classes=classes, split=split, control=CONTROL,
        channels=CHANNELS, notes=[], aggregate_wells="mean", aggregate_treatments="median", tta="none", head="softmax",
        seed=0, environment={})


def _decisions(treatments: pd.DataFrame, fields: pd.DataFrame, classes: list[str],
               rng: np.random.Generator) -> pd.DataFrame:
    """Return decisions.csv: in order of q."""
    number = len(treatments)
    q = np.sort(rng.uniform(size=number) ** 2)
    found = treatments[["Metadata_Compound", "Metadata_Concentration", "Metadata_MOA"]].sample(frac=1, random_state=0)
    probability = rng.uniform(0.3, 1, number)
    nearest = fields[(fields["Metadata_MOA"] != "") & (fields["Metadata_Compound"] != CONTROL)]
    chosen = nearest.iloc[rng.integers(len(nearest), size=number)] if len(nearest) else None
    return found.reset_index(drop=True).assign(
        Rank=np.arange(1, number + 1), Wells=3, Plates=2,
        Predicted_MOA=rng.choice(classes, number) if classes else "", Probability=probability if classes else np.nan,
        Confidence=probability**2 if classes else np.nan, Mean_Average_Precision=1 - q, Q_Value=q, Active=q <= 0.05,
        Effect_Size=5 * (1 - q), None_Of_The_Known=rng.uniform(size=number) if len(nearest) else np.nan,
        Nearest_Compound=chosen["Metadata_Compound"].to_numpy() if chosen is not None else "",
        Nearest_Concentration=chosen["Metadata_Concentration"].to_numpy() if chosen is not None else np.nan,
        Nearest_MOA=chosen["Metadata_MOA"].to_numpy() if chosen is not None else "",
        Similarity=rng.uniform(size=number) if len(nearest) else np.nan, Trained=False, Flagged_Fields=0, Fields=3)


def _quality(wells: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    number = len(wells)
    flags = rng.choice(["", "blurred", "debris;saturated"], number, p=[0.9, 0.06, 0.04])
    names = ["Metadata_Plate", "Metadata_Well", "Metadata_Site", "Metadata_Compound", "Metadata_Concentration"]
    measured = {name: rng.uniform(size=number) for name in quality.columns(tuple(CHANNELS))}
    return wells[names].assign(**measured | {quality.CELLS: rng.poisson(200, number).astype(float)}, Flags=flags)


def _pictures(treatments: pd.DataFrame, wells: pd.DataFrame, side: int, folder: Path, rng: np.random.Generator) -> None:
    """Write pictures.json: a picture per treatment, and one of the control of each plate."""
    folder.mkdir()
    drawn = [_picture(side, rng) for _ in range(PICTURES)]
    controls = wells[wells["Metadata_Compound"] == CONTROL].drop_duplicates("Metadata_Plate")
    entries = []
    for number, row in enumerate(pd.concat([treatments, controls]).to_dict("records")):
        names = [f"picture-{number:04}-{file}.jpg" for file in range(len(PLANES))]
        for file, name in enumerate(names):
            (folder / name).write_bytes(drawn[(number + file) % PICTURES])
        dose = row["Metadata_Concentration"]
        entries.append({"compound": row["Metadata_Compound"], "concentration": None if dose != dose else dose,
                        "mechanism": row["Metadata_MOA"], "plate": row["Metadata_Plate"], "well": row["Metadata_Well"],
                        "site": "1", "is_control": row["Metadata_Compound"] == CONTROL, "files": names, "planes": PLANES,
                        "width": side, "height": side})
    files.write_json(folder / "pictures.json", entries)


def _picture(side: int, rng: np.random.Generator) -> bytes:
    """Return round cells as a JPEG whose red, green and blue are channels by themselves."""
    y, x = np.mgrid[:side, :side]
    planes = np.zeros((side, side, 3))
    for _ in range(14):
        row, column = rng.uniform(0, side, 2)
        for plane, radius in enumerate(rng.uniform(side / 30, side / 10, 3)):
            planes[..., plane] += np.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * radius**2))
    written = io.BytesIO()
    Image.fromarray((255 * np.clip(planes, 0, 1)).astype(np.uint8)).save(written, "JPEG", quality=75, subsampling=0)
    return written.getvalue()
