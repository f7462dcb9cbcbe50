"""mscnn.load_run, and the Run that predicts, embeds and explains fields of view.

Predictions equal those of `mscnn evaluate` to the last bit for the same fields in the same order, with the same microbatch
and number of threads.  The number of threads is torch's (torch.set_num_threads changes it).  The library sets nothing of
the process: neither threads, cores, memory, signals nor log handlers.  It logs to the logger "mscnn".
Shapes: N fields, C channels, H W pixels, h w grid of H/64 x W/64.
"""

import dataclasses
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm import TqdmWarning, tqdm

from mscnn.core import activity, identity
from mscnn.core.errors import UsageError
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.pixels.scale import scale_from_record
from mscnn.distributed.world import World
from mscnn.evaluation import aggregate
from mscnn.evaluation import load_run as loading
from mscnn.evaluation.predict_run import predict_run
from mscnn.library.fields import Fields, choose_scale, to_fields
from mscnn.model import MCNN
from mscnn.model.acceleration import Acceleration
from mscnn.profiling import profile_table
from mscnn.training import checkpoint
from mscnn.training.checkpoint import Checkpoint

MICROBATCH = 8  # as that of `mscnn evaluate`


@dataclass(frozen=True, eq=False)
class Explanation:
    """What each pixel adds to a mechanism's class score, beyond the score of the field's background."""

    mechanism: str
    probability: float        # of the mechanism, as Run.predict gives it for the field alone
    channels_CHW: np.ndarray  # float32, by channel and pixel; sums to score - baseline_score but for the integral's steps
    scales_7hw: np.ndarray    # float32, by scale, the finest first, on the network's grid; sums likewise
    score: float              # of the field, before softmax
    baseline_score: float     # of the background: each channel's 5th percentile


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """A trained network, as mscnn.load_run returns it."""

    path: Path                   # of the checkpoint file
    classes: list[str]           # mechanisms or assays, in the order of the network's outputs
    channels: list[str]          # in the order that the network sees them
    image_size: tuple[int, int]  # height and width of the network's input in pixels
    held_out: list[str]          # compounds that the network has not seen
    notes: list[str]             # what a reader of its predictions must know
    by_plate: bool               # each plate is scaled by its own numbers, so that predictions need plates=
    _saved: Checkpoint           # without its weights, and without what a resumed training needs
    _network: MCNN

    def __repr__(self) -> str:
        height, width = self.image_size
        what = "assays" if loading.is_of_assays(self._saved) else "mechanisms"
        return (f"Run {self.path}: fields of {height}x{width}, channels {', '.join(self.channels)}; {len(self.classes)} "
                f"{what}: {', '.join(self.classes)}; held out: {', '.join(self.held_out) or 'none'}")

    def predict(self, fields: Any, *, metadata: pd.DataFrame | None = None, plates: Any = None,
                microbatch: int = MICROBATCH, progress: bool = False) -> pd.DataFrame:
        """Return the probability of each mechanism for each field, or of being active in each assay.

        Give raw camera counts: the run scales them as in its training.  Fields of another size are cropped at the centre
        or padded by mirroring where the run's setting image-size does so; else they are refused.  Probabilities are those
        of `mscnn evaluate` to the last bit for the same fields in the same order, microbatch and number of torch's threads.

        Args:
            fields: one of
                an array of counts (N, C, H, W), uint8 or uint16, channels as in `run.channels`.  Other types are taken if
                all values are whole numbers from 0 to 65535;
                a list of paths: a TIFF or PNG file a field, or a tuple of files a field, one per channel;
                a table of mscnn.read_screen, or rows of it.
            metadata: for an array or paths, a DataFrame with a row a field and some of the columns Metadata_Plate, _Week,
                _Well, _Site, _Replicate, _Compound, _Concentration, _MOA.
            plates: for a run that scales each plate by its own numbers (`run.by_plate`): "training", the plates are those
                of its training, by name; "measure", each plate is measured in its untreated wells among these fields, as
                `mscnn evaluate` does for another screen; a table: plates are measured in the untreated wells of that table.
                Others ignore it.
            microbatch: fields that are computed at once.  Its size, and which fields share one, decide the last bit.
            progress: show a progress bar.

        Returns:
            A row a field, in order, with the index of the table: the Metadata_* columns that are known, and a column per
            mechanism, or assay, with its probability, float64.

        Raises:
            ValueError: the fields do not fit; the message says what was expected, what was found, and the remedy.

        Warns:
            UserWarning: plates have the mean scale of others, or sample type, intensities, order of channels or size of
                pixels are unlike those of the training.
        """
        found = self._compute(fields, metadata, plates, microbatch, progress)
        return _joined(found.fields, pd.DataFrame(found.probabilities_NK, columns=self.classes))

    def embed(self, fields: Any, *, metadata: pd.DataFrame | None = None, plates: Any = None,
              microbatch: int = MICROBATCH, progress: bool = False) -> pd.DataFrame:
        """Return the network's 512 activations for each field: its profile, for mscnn.score_profiles.

        Arguments and errors are those of `predict`.

        Returns:
            A row a field, in order, with the index of the table: the Metadata_* columns that are known; Metadata_Scored,
            where compounds are known: False for those that the network was trained on, which mscnn.score_profiles takes
            as neighbours only (drop the column to count them all), and True for all of a label-free network that was
            trained on all; Image_MCNN_Emb_001 to _512, float32, as in
            profiles.parquet of `mscnn evaluate`.
        """
        found = self._compute(fields, metadata, plates, microbatch, progress, with_readout=False)
        given = found.fields
        if "Metadata_Compound" in given.metadata:
            compounds, split = given.metadata["Metadata_Compound"], self._saved.split
            learnt = [] if loading.is_label_free(self._saved) and not split.held_out else split.trained["compounds"]
            is_trained = compounds.isin(identity.in_common(compounds, learnt))
            given = dataclasses.replace(given, metadata=given.metadata.assign(**{profile_table.SCORED: ~is_trained}))
        return _joined(given, aggregate.embedding(found.features_NF))

    def explain(self, field: Any, mechanism: str | None = None, *, metadata: pd.DataFrame | None = None,
                plates: Any = None, steps: int = 24) -> Explanation:
        """Attribute the class score of one field to its channels, pixels and scales, by integrated gradients.

        With a read-out that was chosen (--head chosen), the score is by discriminant analysis of the network's features
        alone, and the probability is the read-out's.

        Args:
            field: an array of counts (C, H, W), a path, a tuple of paths, one per channel, or a table with one row.
            mechanism: one of `run.classes`, which may be assays; None: the most probable one.
            metadata: as in `predict`.
            plates: as in `predict`.
            steps: of the integral, at least 1; more are more exact.

        Raises:
            ValueError: the field does not fit, or the mechanism is not one of the run's.
        """
        if mechanism is not None and mechanism not in self.classes:
            raise UsageError(f"mechanism must be one of {', '.join(self.classes)}, got {mechanism!r}")
        if steps < 1:
            raise UsageError(f"steps must be at least 1, got {steps}")
        with warnings.catch_warnings():  # captum warns of missing widgets when a notebook imports it
            warnings.simplefilter("ignore", TqdmWarning)
            from mscnn.evaluation import attribution  # here: it takes seconds

        found = self._compute(_as_one(field), metadata, plates, 1, False)
        probabilities_K = found.probabilities_NK[0]
        number = int(probabilities_K.argmax()) if mechanism is None else self.classes.index(mechanism)
        maps = attribution.attribute(self._network, found.reader.read(np.array([0]))[0], number, steps=steps)
        return Explanation(self.classes[number], float(probabilities_K[number]), maps.channels_CHW.numpy(),
                           maps.scales_7hw.numpy(), maps.score, maps.baseline_score)

    def _compute(self, fields: Any, metadata: pd.DataFrame | None, plates: Any, microbatch: int,
                 progress: bool, *, with_readout: bool = True) -> "_Computed":
        """Run the network, and as a rule its read-out, on the fields.

        Called by public methods alone: warnings point at their caller.
        """
        if microbatch < 1:
            raise UsageError(f"microbatch must be at least 1, got {microbatch}")
        if with_readout and loading.is_label_free(self._saved) and not self._saved.resume.has_lda_head:
            raise UsageError(f"{self.path}: label-free, and without a read-out of mechanisms yet; finish its training with "
                             "--head chosen, or use embed")
        given = to_fields(fields, metadata, self._saved)
        scale, notes = choose_scale(given, self._saved, plates)
        for note in notes:
            warnings.warn(note, stacklevel=3)
        reader = FieldReader(given.table, scale, self.image_size)
        with tqdm(total=len(given.table), desc="predicting", unit="field", disable=not progress) as bar:
            try:
                saved = self._saved if with_readout else dataclasses.replace(self._saved, readout=None)
                found = predict_run(saved, self._network, reader, World(), microbatch=microbatch, source=str(self.path),
                                    measure_plates=isinstance(plates, str) and plates == "measure", advance=bar.update)
            finally:
                activity.clear()
        for note in found.notes:
            warnings.warn(note, stacklevel=3)
        return _Computed(given, reader, found.probabilities_SK, found.features_SF)


def load_run(run_or_file: str | os.PathLike) -> Run:
    """Load a trained network: the newest checkpoint of a run directory, or a checkpoint file.

    Checkpoints are data: no code in a file is run.

    Args:
        run_or_file: run directory, as RUN of `mscnn train --run-dir RUN`, or a .safetensors file of its checkpoints.

    Raises:
        ValueError: there is no checkpoint, or it cannot be used: it is damaged, or of another version.
    """
    if not str(run_or_file).strip():
        raise UsageError("run_or_file is empty; give a run directory or a checkpoint file")
    path, saved = checkpoint.read(Path(run_or_file))
    network = loading.load_network(saved, Acceleration())
    split = saved.split
    notes = checkpoint.caveats(path, saved) + ([split.leaks] if split.leaks else [])
    if saved.settings["transductive"]:
        notes.append(loading.SEEN)
    slim = dataclasses.replace(saved, network={}, resume=dataclasses.replace(saved.resume, loss_module={}, optimiser={},
                                                                             ema=None))
    height, width = saved.image_size
    return Run(path, saved.classes, saved.channels, (height, width), split.held_out, notes,
               scale_from_record(saved.scale).by_plate, slim, network)


def _joined(given: Fields, numbers: pd.DataFrame) -> pd.DataFrame:
    """Return metadata and numbers side by side, with the index of what the user gave."""
    return pd.concat([given.metadata, numbers], axis=1).set_axis(given.index, axis=0)


class _Computed(NamedTuple):
    fields: Fields
    reader: FieldReader
    probabilities_NK: np.ndarray  # float64
    features_NF: np.ndarray       # float64


def _as_one(field: Any) -> Any:
    """Return one field as `predict` takes fields: an array with a first axis, a list, or a table. Raises UsageError."""
    if isinstance(field, np.ndarray) and field.ndim == 3:
        return field[None]
    if isinstance(field, str | os.PathLike | tuple):
        return [field]
    if isinstance(field, np.ndarray | pd.DataFrame | list) and len(field) != 1:
        raise UsageError(f"explain takes one field, got {len(field)}; choose a row of a table with table.iloc[[0]], a "
                         "field of an array with images[0], one path of a list")
    return field
