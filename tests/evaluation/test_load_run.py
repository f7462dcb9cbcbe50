"""Which sites are scored, what their scores have to tell, and in which unit doses are shown."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from mscnn.core import config
from mscnn.core.errors import DataError, UsageError
from mscnn.core.presets import PRESETS
from mscnn.data.read_screen import read_screen
from mscnn.data.tables.site_table import read_sites
from mscnn.data.tables.splits import make_split, to_record
from mscnn.distributed.world import World
from mscnn.evaluation import load_run, run
from mscnn.evaluation.load_run import EvaluationSites
from mscnn.evaluation.settings import EvaluationSettings
from mscnn.readout.record import ReadoutRecord

LEFT_OUT = "3 of 15 sites are left out"


def trained(sites, notes=(), **settings) -> SimpleNamespace:
    """What select_sites reads of the checkpoint of a supervised training that holds out compound b."""
    flat = config.from_flat(PRESETS["supervised"]() | {"preset": "supervised", "sites": str(sites), **settings}).flat()
    table = read_screen(config.from_flat(flat).data)
    record = to_record(make_split(table, split="hold-out", hold_out="b"), replace(table, notes=tuple(notes)))
    return SimpleNamespace(settings=flat, split=record, channels=list(table.channels), classes=table.mechanisms(),
                           image_size=(128, 128))


def select(checkpoint, **settings) -> EvaluationSites:
    return load_run.select_sites(EvaluationSettings(checkpoint="run", **settings), checkpoint, World())


def test_every_score_tells_what_its_training_and_its_table_left_out(tiny_screen, tmp_path):
    saved = trained(tiny_screen, [LEFT_OUT])
    assert select(saved).notes == [LEFT_OUT]
    assert run.is_whole(EvaluationSettings(checkpoint="run"), saved, select(saved))
    (tmp_path / "a_B02_DNA.tif").unlink()
    other = select(saved, sites=str(tiny_screen), out="o", available=True)
    assert other.notes[1:] == [
        "1 of 12 sites are left out, as their image files are not all there (--available): 0 of 1 plate and 1 of 12 wells "
        "whole", f"in training, {LEFT_OUT}"]
    assert len(other.table) == 11


def test_held_out_fields_whose_images_are_gone_are_left_out_where_that_is_asked_for(tiny_screen, tmp_path):
    saved = trained(tiny_screen)
    (tmp_path / "b_B02_RNA.tif").unlink()
    with pytest.raises(DataError, match=r"1 of 6 image files cannot be used; .* go on with the rest by --available true"):
        select(saved, profiles="held-out")
    asked = EvaluationSettings(checkpoint="run", available=True)
    assert not run.is_whole(asked, saved, select(saved, available=True))  # known compounds of a part are not kept
    found = select(saved, available=True, profiles="held-out")
    assert (found.table.frame["well"].tolist(), found.is_scored.all()) == (["C03", "D03"], True)
    assert found.notes[0].startswith("1 of 12 sites are left out")
    for well in "CD":
        (tmp_path / f"b_{well}02_DNA.tif").unlink()
    with pytest.raises(DataError, match="no held-out field has all its image files, as --available needs; name the folder"):
        select(saved, available=True)


def test_a_pack_has_all_its_fields_and_the_trainings_own_table_its_unit():
    saved = SimpleNamespace(settings=config.from_flat({"preset": "supervised", "packed": "p"}).flat(), channels=["DNA"])
    with pytest.raises(UsageError, match="--available true is for image files"):
        load_run.data_settings(EvaluationSettings(checkpoint="run", available=True), saved)
    with pytest.raises(UsageError, match="--concentration-unit nM is of another table"):
        EvaluationSettings(checkpoint="run", concentration_unit="nM")


@pytest.mark.parametrize(("of_training", "column", "asked", "shown"), [
    ("nM", "Metadata_Concentration", {}, "nM"),                                        # nothing else tells
    ("nM", "Metadata_Concentration (ug/ml)", {}, "\u00b5g/ml"),                        # the table tells
    ("nM", "Metadata_Concentration (ug/ml)", {"concentration_unit": "uM"}, "\u00b5M"),  # the user tells
    (None, "Metadata_Concentration", {}, "\u00b5M")])                                  # as in an older release
def test_doses_of_another_table_have_its_own_unit_else_the_trainings(tiny_screen, of_training, column, asked, shown):
    saved = trained(tiny_screen, concentration_unit=of_training)
    tiny_screen.write_text(tiny_screen.read_text().replace("Metadata_Concentration", column))
    sites = select(saved, sites=str(tiny_screen), out="o", **asked)
    saved.step = 1
    assert run._describe(saved, sites, tiny_screen, tiny_screen, [], []).unit == shown


@pytest.mark.parametrize(("settings", "plates", "is_told"), [
    ({}, None, False), ({}, ["P1"], True), ({"normalise": "plate"}, None, True),
    ({"normalise": "plate", "plate_reference": "other"}, None, False)])
def test_false_positives_of_plates_that_their_own_control_wells_scale_have_a_note(tiny_screen, settings, plates, is_told):
    saved = trained(tiny_screen, **settings)
    saved.readout = ReadoutRecord({"plates": plates})
    table = read_sites(tiny_screen)
    assert load_run.note_scaled_by_controls(saved, table) == (load_run.SCALED if is_told else "")
    assert load_run.note_scaled_by_controls(saved, table.select(~table.is_control())) == ""
