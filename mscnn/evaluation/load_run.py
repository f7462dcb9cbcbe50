"""From a checkpoint to what it predicts with: the sites, their scale, the network."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mscnn.core import config
from mscnn.core.errors import DataError, UsageError
from mscnn.data.pixels.scale import Scale
from mscnn.data.read_screen import read_screen
from mscnn.data.tables import splits
from mscnn.data.tables.site_table import SiteTable
from mscnn.data.tables.splits import SplitRecord
from mscnn.distributed.world import World
from mscnn.evaluation.settings import EvaluationSettings
from mscnn.model import MCNN
from mscnn.model.acceleration import Acceleration
from mscnn.training import prepare_data

SEEN = "the network has seen images of what it is scored on, without labels (--aux-on-held-out)"


@dataclass(frozen=True)
class EvaluationSites:
    """Sites to run the network on; is_scored: (S,) bool, those whose predictions count; notes: what a reader must know."""

    table: SiteTable
    is_scored: np.ndarray
    notes: list[str]

    def scored(self) -> SiteTable:
        """The sites whose predictions count."""
        return self.table.select(self.is_scored)


def select_sites(settings: EvaluationSettings, content: dict[str, Any], ranks: World) -> EvaluationSites:
    """The held-out sites, or those of another table; with --profiles all also those that were trained on. Checked."""
    data = ranks.run_on_all_or_raise(lambda: _source(settings, content))
    if settings.another():
        table = ranks.run_on_all_or_raise(lambda: read_screen(data))
        notes, is_scored = splits.overlap(SplitRecord.from_json(content["split"]), table), np.ones(len(table), bool)
        if content["config"]["aux_on_held_out"] and set(content["split"]["held_out"]) & set(table.frame["compound"]):
            notes.append(SEEN)
    else:
        table = ranks.run_on_all_or_raise(lambda: prepare_data.load_labelled_sites(data))
        is_scored = splits.restore(SplitRecord.from_json(content["split"]), table).side == splits.TEST
        notes = [content["split"]["leaks"]] if content["split"]["leaks"] else []
        if content["config"]["aux_on_held_out"]:
            notes.append(SEEN)
        if settings.profiles == "held-out":
            table, is_scored = table.select(is_scored), np.ones(is_scored.sum(), bool)
    if not is_scored.any():
        raise UsageError("the checkpoint's split held nothing out; name a table to score with --sites")
    if alien := sorted(set(table.frame["mechanism"][is_scored]) - {"", *content["split"]["trained"]["mechanisms"]}):
        notes.append(f"mechanisms that were not trained, so always wrong: {'; '.join(alien)}")
    table = prepare_data.with_shape(table, data.size(), ranks)
    _require_same_form(table, data, content)
    return EvaluationSites(table, is_scored, notes)


def load_scale(settings: EvaluationSettings, content: dict[str, Any], table: SiteTable,
               ranks: World) -> tuple[Scale, list[str]]:
    """As in training; plates of another table are measured in their own reference wells. And what a reader must know."""
    scale, notes = prepare_data.restore(content["normalisation"]), []
    data = config.from_flat(content["config"]).data
    reference = data.plate_reference or table.control
    if settings.another() and scale.by_plate:
        own = np.flatnonzero(table.is_of(reference))
        if len(own):
            scale = prepare_data.fit_scale(table, own, data, ranks)
        else:
            notes.append(f"no wells of {reference} here: plates have the mean light and scale of training's")
            scale = scale.for_other_screen()
    if not scale.covers(table.frame["plate"]):
        notes.append("plates that were not measured have the mean light and scale of those that were")
    _, height, width, _ = table.native
    if scale.size not in (None, (height, width)):
        raise DataError(f"fields are {height}x{width}, but plates were measured at {scale.size[0]}x"
                        f"{scale.size[1]}; score fields of that size, or a table with wells of {reference}")
    return scale, notes


def load_network(content: dict[str, Any], acceleration: Acceleration) -> MCNN:
    """The network with its weights."""
    shape = (len(content["channels"]), *content["image_size"])
    built = acceleration.prepare(MCNN(len(content["classes"]), *shape, head_relu=content["config"]["head_relu"]))
    built.load_state_dict(content["network"])
    return built


def _source(settings: EvaluationSettings, content: dict[str, Any]) -> config.Data:
    """Where the table is, by the checkpoint's settings and what the command line puts in their place. Raises DataError
    where the checkpoint, which anybody can have made, names what is no file: /dev/zero would be read for ever.
    """
    data = config.from_flat(content["config"]).data
    if settings.another():
        channels = None if settings.packed else settings.channels or ",".join(content["channels"])
        data = dataclasses.replace(data, **{name: getattr(settings, name) for name in config.SCREENS},
                                   columns=settings.columns, channels=channels, image_root=None)
    data = data.at(settings.data, settings.image_root)
    if data.sites and not (settings.sites or settings.data) and not Path(data.sites).is_file():
        raise DataError(f"{data.sites}: the checkpoint's site table is not there, or no file; say where it is with --data")
    return data


def _require_same_form(table: SiteTable, data: config.Data, content: dict[str, Any]) -> None:
    if data.packed and list(table.channels) != content["channels"]:
        raise DataError(f"{data.packed} holds channels {', '.join(table.channels)}, the checkpoint was trained on "
                        f"{', '.join(content['channels'])}; pack them in that order with --channels")
    expected = (len(content["channels"]), *content["image_size"])
    if table.shape != expected:
        raise DataError(f"fields are {table.shape} (channels, height, width), but the checkpoint was trained on "
                        f"{expected}; score a table of the same channels and size")
