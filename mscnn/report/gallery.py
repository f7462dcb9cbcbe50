"""Pictures of an evaluation: one of each treatment, and examples with the attribution of their prediction.

All pictures of a plate and channel show the same range of counts (windows.py).      pytest tests/report/test_gallery.py

Shapes: C channels, H W pixels, h w of a picture.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib import colormaps
from PIL import Image
from torch import Tensor

from mscnn.core import files
from mscnn.core.logs import progress
from mscnn.data.pixels.images import fit
from mscnn.data.pixels.read_pixels import read_pixels
from mscnn.evaluation import aggregate, decisions, results
from mscnn.evaluation.attribution import Attribution, attribute
from mscnn.evaluation.run import Evaluation
from mscnn.report import choose_examples, composite, palette, pictures, windows
from mscnn.report.choose_examples import Choice, Screen
from mscnn.report.run import Example, ExampleFiles
from mscnn.report.windows import Window

FIELD_PX, BESIDE_PX, OVERLAY_PX = 384, 288, 192  # longer sides: of an example, of what stands beside one, of a map
QUALITY = 85
OPACITY = 0.75


@dataclass(frozen=True)
class _Source:
    """Where pictures come from."""

    evaluation: Evaluation
    windows: dict[str, Window]  # of each plate

    def counts(self, row: int) -> np.ndarray:
        """Return the counts (C, H, W) of a field at a position among all sites."""
        fields = self.evaluation.fields
        return fit(read_pixels(fields.table, row), fields.size)

    def shown(self, row: int) -> np.ndarray:
        """Return a field as (C, H, W) in 0..1."""
        return self.windows[str(self.evaluation.profiles["Metadata_Plate"].iat[row])].apply(self.counts(row))


def write(evaluation: Evaluation, *, examples: int, steps: int = 24) -> list[Example]:
    """Write pictures of treatments, and examples, into the evaluation's folder gallery; return the examples.

    examples: fields whose prediction is attributed to channels and scales, of those that choose_examples.choose shows; a
    network of assays has none.  steps: of the attribution's integral.
    """
    listing = evaluation.out / results.GALLERY
    files.make_output_folder(listing.parent)
    listing.unlink(missing_ok=True)
    for old in listing.parent.glob("[0-9]*.jpg"):
        old.unlink()
    description, (decided, predictions) = evaluation.description, evaluation.decided()
    levels = aggregate.aggregate(predictions, description.control, well_rule=description.aggregate_wells,
                                 treatment_rule=description.aggregate_treatments)
    of_assays = aggregate.is_of_assays(predictions)
    treatments = levels["treatments"].assign(Predicted_MOA="") if of_assays else levels["treatments"]
    screen = Screen(evaluation.profiles, decided, predictions.assign(Predicted_MOA="") if of_assays else predictions,
                    treatments, description.control, _ranked(evaluation.out))
    chosen = [] if of_assays else choose_examples.choose(screen, examples)
    of_treatments = choose_examples.one_each(screen)
    source = _Source(evaluation, _windows(evaluation, screen, {*of_treatments, *(choice.row for choice in chosen)}))
    pictures.write(of_treatments, screen.sites, screen.is_control(), source.counts, source.windows, description.channels,
                   evaluation.out)
    return _write_examples(chosen, source, listing, steps)


def _ranked(out: Path) -> list[str] | None:
    """Return the treatments of decisions.csv, the best hit first; None without the file."""
    decided = decisions.read(out)
    return None if decided is None else list(choose_examples.keys(decided))


def _windows(evaluation: Evaluation, screen: Screen, rows: set[int]) -> dict[str, Window]:
    """Return the window of each plate of the fields at these positions."""
    source, plates = _Source(evaluation, {}), screen.sites["Metadata_Plate"].iloc[sorted(rows)]
    references = windows.reference(screen.sites, screen.is_control(), plates)
    with progress(len(references), "measuring brightness", unit="plate") as bar:
        found = {}
        for plate, fields in references.items():
            found[plate] = windows.measure(fields, source.counts)
            bar.advance()
    return found


def _write_examples(chosen: list[Choice], source: _Source, listing: Path, steps: int) -> list[Example]:
    """Draw the chosen fields into the folder of the list, and write the list."""
    description, shown = source.evaluation.description, []
    with progress(sum(choice.is_attributed for choice in chosen), "drawing examples", unit="example") as bar:
        for number, choice in enumerate(chosen):
            attribution = None
            if choice.is_attributed:
                field_CHW = source.evaluation.fields.read(np.array([choice.row]))[0]
                classes = description.classes or []
                attribution = attribute(source.evaluation.network, field_CHW, classes.index(choice.predicted), steps=steps)
            names = _draw(source.shown(choice.row), attribution, description.channels, listing.parent, number,
                          FIELD_PX if choice.pair is None else BESIDE_PX)
            shown.append(_example(source.evaluation, choice, attribution, names))
            bar.advance(int(choice.is_attributed))
    files.write_json(listing, [example.to_json() for example in shown])
    return shown


def overlay(grey_HW: np.ndarray, attribution_hw: Tensor, top: float) -> np.ndarray:
    """Return positive attribution, up to `top`, as a translucent map over a grey picture: (H, W, 3) in 0..1."""
    stretched = torch.nn.functional.interpolate(attribution_hw[None, None].clamp(min=0), grey_HW.shape, mode="bilinear")
    strength_HW = np.clip(stretched[0, 0].numpy() / max(top, 1e-12), 0, 1)
    alpha = OPACITY * strength_HW[..., None]
    return (1 - alpha) * grey_HW[..., None] + alpha * colormaps[palette.ATTRIBUTION_MAP](strength_HW)[..., :3]


def _draw(shown_CHW: np.ndarray, attribution: Attribution | None, channels: list[str], folder: Path, number: int,
          longest: int) -> ExampleFiles:
    """Draw the pictures of one example into a folder; file names are numbers. shown_CHW: in 0..1."""
    picture = composite.compose(shown_CHW, composite.planes(channels)[0])
    field = f"{number:03}.jpg"
    _image(picture, longest).save(folder / field, quality=QUALITY)
    if attribution is None:
        return ExampleFiles(field, [], [])
    grey_hw = np.asarray(_image(picture, OVERLAY_PX).convert("L")) / 255
    small_Chw = torch.nn.functional.adaptive_avg_pool2d(attribution.channels_CHW, grey_hw.shape)
    names = ExampleFiles(field, [f"{number:03}-channel-{n}.jpg" for n in range(len(small_Chw))],
                         [f"{number:03}-scale-{n}.jpg" for n in range(len(attribution.scales_7hw))])
    for names_of_maps, maps in ((names.channels, small_Chw), (names.scales, attribution.scales_7hw)):
        top = float(maps.clamp(min=0).flatten().quantile(0.995))  # one scale of colour for all, so that they compare
        for name, attribution_hw in zip(names_of_maps, maps, strict=True):
            drawn = (255 * overlay(grey_hw, attribution_hw, top)).round().astype(np.uint8)
            _image(drawn, OVERLAY_PX).save(folder / name, quality=QUALITY)
    return names


def _image(picture_HW3: np.ndarray, longest: int) -> Image.Image:
    image = Image.fromarray(picture_HW3)
    image.thumbnail((longest, longest))
    return image


def _example(evaluation: Evaluation, choice: Choice, attribution: Attribution | None, names: ExampleFiles) -> Example:
    """Return the entry of a field."""
    decided, predictions = evaluation.decided()
    about, place = evaluation.profiles.iloc[choice.row], np.flatnonzero(decided == choice.row)
    dose, name = about["Metadata_Concentration"], f"Probability_{choice.predicted}"
    probability = float(predictions[name].iat[place[0]]) if choice.predicted and len(place) else None
    return Example(about["Metadata_Compound"], None if pd.isna(dose) else float(dose), about["Metadata_MOA"],
                   choice.predicted, probability, str(about["Metadata_Plate"]), str(about["Metadata_Well"]),
                   str(about["Metadata_Site"]), _shares(attribution.channels_CHW) if attribution else [],
                   _shares(attribution.scales_7hw) if attribution else [], names, choice.kind, choice.pair)


def _shares(maps: Tensor) -> list[float]:
    """Return each map's share of absolute attribution; zeros where there is none at all."""
    parts = maps.abs().flatten(1).sum(dim=1, dtype=torch.float64)
    return (parts / parts.sum().clamp(min=1e-300)).tolist()
