"""Profiles of the compounds that a training knows, kept beside its checkpoint: RUN/known_profiles.parquet.

A row is a well: of a treatment with a mechanism, or of the control.  New compounds are compared with them.

Shapes: S wells, F features.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from mscnn.core import files, foreign_table, identity
from mscnn.core.errors import DataError
from mscnn.profiling import correction, known, profile_table, treatment_profiles
from mscnn.profiling.known import KnownComparison
from mscnn.profiling.profile_table import PLACES, SCORED, ProfileTable
from mscnn.readout.plate_controls import ENOUGH_WELLS
from mscnn.training import checkpoint

FILE = "known_profiles.parquet"
SHA256 = "Metadata_Checkpoint_SHA256"  # of the checkpoint whose network made the profiles
REMEDY = "remove it, and it is written anew"
OF_TRAINING = "training: "  # before the name of a plate of the training: another screen may use the same names
SCALED_TOGETHER = (f"not all plates of both screens have {ENOUGH_WELLS} control wells, so features are scaled over all "
                   "wells of both together, and a plate can pose as a mechanism")


def run_folder(path: Path) -> Path:
    """Return the run directory of a checkpoint file, or the folder of a file that lies elsewhere."""
    return path.parent.parent if path.parent.name == checkpoint.FOLDER else path.parent


def of_fields(profiles: pd.DataFrame, control: str, well_rule: str) -> ProfileTable:
    """Return the wells that are kept.  profiles: a row a field, as Evaluation holds them. Raises DataError."""
    found = profile_table.from_frame(profiles, "profiles of the training")
    is_kept = (found.metadata["Metadata_MOA"] != "").to_numpy() | found.is_control(control)
    if not is_kept.any():
        raise DataError("no compound of the training has a known mechanism; fill in Metadata_MOA")
    return treatment_profiles.wells(found.select(is_kept), well_rule)


def write(wells: ProfileTable, sha256: str, run: Path) -> None:
    """Write the wells beside the checkpoint with this SHA-256, whole or not at all. Raises OSError, UsageError."""
    features = pd.DataFrame(wells.features_SF.astype(np.float32), columns=wells.names)
    table = pd.concat([wells.metadata.rename(columns={"Scored": SCORED}), features], axis=1).assign(**{SHA256: sha256})
    with files.write_atomically(run / FILE, alone=True) as partial:
        table.to_parquet(partial, index=False)


def read(run: Path, sha256: str) -> ProfileTable | None:
    """Return the wells that were kept; None where there are none, or those of another checkpoint. Raises DataError."""
    path = run / FILE
    if not path.exists():
        return None
    table = foreign_table.read_parquet(path, REMEDY)
    table.require(SHA256, SCORED, *PLACES)
    return profile_table.read(path) if (table.text(SHA256) == sha256).all() else None


def compare(fields: ProfileTable, known_wells: ProfileTable, control: str, *, aggregate_wells: str,
            aggregate_treatments: str, draws: int, seed: int) -> KnownComparison:
    """Compare the treatments of another screen with its own known compounds and with those of the training.

    fields: profiles as the network made them.  Wells of both screens are corrected by the control wells of their own plate
    (median and MAD), where all plates have enough of them; else all wells are scaled together, and a note says so.
    Raises DataError for profiles of other features.
    """
    if fields.names != known_wells.names:
        raise DataError(f"{FILE} holds {len(known_wells.names)} features, and the network makes {len(fields.names)}; "
                        f"{REMEDY}")
    new = treatment_profiles.wells(fields, aggregate_wells)
    both = _together(new, known_wells)
    normalise = "mad" if correction.has_controls(both, control) else "standard"
    corrected, _ = correction.correct(both, normalise=normalise, sphere=False, control=control)
    found = known.compare_with_known(*treatment_profiles.of_wells(corrected, control, aggregate_treatments), draws=draws,
                                     seed=seed)
    if normalise == "mad":
        return found
    return replace(found, note="; ".join(filter(None, [found.note, SCALED_TOGETHER])))


def _together(new: ProfileTable, known_wells: ProfileTable) -> ProfileTable:
    """Return the wells of both screens; a compound is written as the new one writes it, plates of the training are marked.

    A well of a compound that the network was trained on is a neighbour only, in either screen.
    """
    spelt = {identity.normal_form(name): name for name in new.metadata["Metadata_Compound"].unique()}
    of_training = known_wells.metadata
    forms = identity.normal_forms(of_training["Metadata_Compound"])
    of_training = of_training.assign(
        Metadata_Compound=forms.map(spelt).fillna(of_training["Metadata_Compound"]),
        Metadata_Plate=OF_TRAINING + of_training["Metadata_Plate"])
    is_learnt = identity.normal_forms(new.metadata["Metadata_Compound"]).isin(forms[~of_training["Scored"]])
    metadata = pd.concat([new.metadata.assign(Scored=new.metadata["Scored"] & ~is_learnt), of_training], ignore_index=True)
    return ProfileTable(metadata, np.vstack([new.features_SF, known_wells.features_SF]), new.names)
