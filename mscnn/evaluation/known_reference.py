"""The known compounds of a training, for the evaluation of another screen: as they were kept, else computed once."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from mscnn.core import config, identity
from mscnn.core.errors import DataError, UsageError
from mscnn.core.logs import log, progress
from mscnn.core.units import MICROMOLAR
from mscnn.core.words import counted
from mscnn.data.pixels.reader import FieldReader
from mscnn.data.plate_maps.units import find_unit
from mscnn.distributed.world import World
from mscnn.evaluation import aggregate, known_profiles, load_run
from mscnn.evaluation.settings import EvaluationSettings
from mscnn.model import MCNN
from mscnn.profiling.profile_table import SCORED, ProfileTable
from mscnn.training import prepare_data
from mscnn.training.checkpoint import Checkpoint

REMEDY = "evaluate the run itself once, where its table and images are (its own table is named by --data)"


@dataclass(frozen=True)
class KnownReference:
    """Wells of the training's known compounds and of its control, or why they cannot be had."""

    wells: ProfileTable | None = None
    note: str = ""


def find(settings: EvaluationSettings, saved: Checkpoint, path: Path, network: MCNN, ranks: World, *,
         loader_thread_init: Callable[[], object] = lambda: None) -> KnownReference:
    """Return the known compounds of the training; a collective.

    path: of the checkpoint.  They are read from the run directory, or computed and kept there: unless --profiles held-out.
    What cannot be had is a note, and never refused.
    """
    run = known_profiles.run_folder(path)
    try:
        kept, problem = known_profiles.read(run, saved.sha256), ""
    except DataError as damage:
        kept, problem = None, str(damage).splitlines()[0]
    if not ranks.any(kept is None):
        return KnownReference(kept)
    if settings.profiles == "held-out":
        return KnownReference(note=f"new compounds are not compared with the known ones of the training, as --profiles "
                                   f"held-out asks: {problem or 'none are kept in ' + str(run)}")
    try:
        wells = _compute(settings, saved, network, ranks, loader_thread_init)
    except (DataError, UsageError) as reason:
        return KnownReference(note="new compounds are not compared with the known ones of the training, which cannot be "
                                   f"had ({str(reason).splitlines()[0]}); {REMEDY}")
    if ranks.rank == 0:
        keep(wells, saved.sha256, run)
    return KnownReference(wells)


def in_unit(found: KnownReference, saved: Checkpoint, unit: str) -> KnownReference:
    """Return the wells with their concentrations in the unit of the screen that is compared with them.

    Where one unit cannot be converted into the other, numbers stay as they are and a note says so.
    """
    of_training = config.from_flat(saved.settings).data.concentration_unit or MICROMOLAR
    before, after = find_unit(of_training), find_unit(unit)
    if found.wells is None or of_training == unit or (before and before == after):
        return found
    if not before or not after or before.written != after.written:
        return replace(found, note=f"concentrations are in {unit}, and those of the training's compounds, which are listed "
                                   f"as the nearest, in {of_training}, which is not converted; give both tables one unit")
    dose, factor = "Metadata_Concentration", before.factor / after.factor
    metadata = found.wells.metadata.assign(**{dose: (found.wells.metadata[dose] * factor).map(identity.dose)})
    return replace(found, wells=replace(found.wells, metadata=metadata))


def keep(wells: ProfileTable, sha256: str, run: Path) -> None:
    """Write the wells beside the checkpoint; a folder that cannot be written to is a warning."""
    try:
        known_profiles.write(wells, sha256, run)
    except (OSError, UsageError) as problem:
        log.warning("profiles of known compounds are not kept for later evaluations: %s", problem)


def _compute(settings: EvaluationSettings, saved: Checkpoint, network: MCNN, ranks: World,
             loader_thread_init: Callable[[], object]) -> ProfileTable:
    """Return the wells, computed from the images of the training; a collective. Raises DataError or UsageError."""
    own = replace(settings, sites=None, bbbc021=None, packed=None, columns=None, channels=None, assays=None,
                  image_root=None, follow_links=None, leave_out=None)
    sites = ranks.run_on_all_or_raise(lambda: load_run.own_sites(load_run.data_settings(own, saved), saved))
    is_known = (sites.table.frame["mechanism"] != "").to_numpy()
    if not (is_known & ~sites.table.is_control()).any():
        raise DataError("no compound of the training has a known mechanism")
    is_kept = is_known | sites.table.is_control()
    table = prepare_data.with_shape(sites.table.select(is_kept), config.from_flat(saved.settings).data.size(), ranks)
    scale = load_run.load_scale(saved, table, ranks, other_screen=False).scale
    log.info("known compounds: the network reads %s of its training, once", counted(len(table), "field"))
    height, width = saved.image_size
    with progress(len(table), "known compounds", ranks.rank, unit="field") as bar:
        _, features_SF = load_run.predict_sites(
            saved, network, FieldReader(table, scale, (height, width)), ranks, microbatch=settings.microbatch,
            source=settings.checkpoint, loader_thread_init=loader_thread_init,
            advance=lambda number: bar.advance(min(number * ranks.size, len(table) - bar.done)))
    profiles = aggregate.field_profiles(table, features_SF).assign(**{SCORED: sites.is_scored[is_kept]})
    return known_profiles.of_fields(profiles, table.control, config.from_flat(saved.settings).aggregation.aggregate_wells)
