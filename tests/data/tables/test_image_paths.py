"""Links below the image root, and where they may lead."""

import shutil
from types import SimpleNamespace

import pandas as pd
import pytest

import mscnn
from mscnn.core import config
from mscnn.core.errors import DataError, UsageError
from mscnn.data.read_screen import read_screen
from mscnn.data.tables.image_paths import LINKS, resolve_image_paths
from mscnn.data.tables.problems import Problem
from mscnn.evaluation import load_run
from mscnn.evaluation.settings import EvaluationSettings
from mscnn.training import train_state
from tests.core.test_config import from_preset


@pytest.fixture
def screen(tmp_path):
    """A site table whose three images are a file, a link to a file of other/store, and a file of a folder linked there."""
    root, store = tmp_path / "root", tmp_path / "other" / "store"
    root.mkdir()
    (store / "week").mkdir(parents=True)
    for place in (root / "own.tif", store / "b.tif", store / "week" / "c.tif", tmp_path / "other" / "secret.tif"):
        place.touch()
    (root / "link.tif").symlink_to(store / "b.tif")
    (root / "week").symlink_to(store / "week")
    (root / "sites.csv").write_text("filename,plate,well,compound\nown.tif,P,B02,x\nlink.tif,P,B03,x\nweek/c.tif,P,B04,x\n")
    return root / "sites.csv"


def resolved(root, names, follow_links=()) -> tuple[list[str], list[Problem]]:
    problems = []
    parts = [pd.DataFrame({"folder": "", "name": names}, index=range(2, 2 + len(names)))]
    return [path for path, in resolve_image_paths(parts, root, problems, follow_links)], problems


def test_links_out_of_the_root_are_refused_and_the_remedy_names_the_option(screen, tmp_path):
    paths, problems = resolved(screen.parent, ["own.tif", "link.tif", "week/c.tif"])
    store = tmp_path / "other" / "store"
    assert paths == [str(screen.parent / "own.tif"), "", ""]
    assert [problem.reason for problem in problems] == [
        f"a link to {store / name}, outside of the image root" for name in ("b.tif", "week/c.tif")]
    assert {problem.kind for problem in problems} == {LINKS}
    assert "--follow-links DIR" in LINKS


@pytest.mark.parametrize("by_a_link", [False, True])
def test_links_to_an_allowed_folder_are_followed_by_files_and_by_folders(screen, tmp_path, by_a_link):
    allowed = tmp_path / "other" / "store"
    if by_a_link:  # the folder that the user names is itself resolved
        (tmp_path / "mount").symlink_to(allowed)
        allowed = tmp_path / "mount"
    paths, problems = resolved(screen.parent, ["own.tif", "link.tif", "week/c.tif"], [tmp_path / "elsewhere", allowed])
    assert problems == []
    assert paths == [str(screen.parent / name) for name in ("own.tif", "link.tif", "week/c.tif")]


def test_what_an_allowed_folder_does_not_hold_stays_refused(screen, tmp_path):
    store, root = tmp_path / "other" / "store", screen.parent
    beside = tmp_path / "other" / "store2"  # a name that begins alike
    beside.mkdir()
    (beside / "d.tif").touch()
    (root / "beside.tif").symlink_to(beside / "d.tif")
    (root / "above.tif").symlink_to(tmp_path / "other" / "secret.tif")
    (root / "gone.tif").symlink_to(tmp_path / "nowhere.tif")
    (store / "week" / "out.tif").symlink_to(tmp_path / "other" / "secret.tif")  # out of the allowed folder
    names = ["beside.tif", "above.tif", "gone.tif", "week/out.tif", "week/../own.tif"]
    paths, problems = resolved(root, names, [store])
    assert paths == [""] * 5
    assert [problem.row for problem in problems] == [2, 3, 4, 5, 6]
    assert problems[1].reason == (f"a link to {tmp_path / 'other' / 'secret.tif'}, outside of the image root "
                                  "and of --follow-links")
    assert problems[4].reason.endswith("leaves the image root")


def test_a_screen_is_read_with_the_folders_that_its_settings_allow(screen, tmp_path):
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / "d.tif").touch()
    (screen.parent / "d.tif").symlink_to(tmp_path / "second" / "d.tif")
    screen.write_text(screen.read_text() + "d.tif,P,B05,x\n")
    one, both = str(tmp_path / "other"), f"{tmp_path / 'other'},{tmp_path / 'second'}"
    with pytest.raises(DataError, match=r"image files are links that leave the image root: 1;.*\n.*d\.tif"):
        read_screen(config.Table(sites=str(screen), follow_links=one))
    assert len(read_screen(config.Table(sites=str(screen), follow_links=both))) == 4
    with pytest.raises(DataError, match="there is no such folder; name those that links lead to"):
        read_screen(config.Table(sites=str(screen), follow_links=f"{both},{tmp_path / 'third'}"))
    with pytest.raises(DataError, match="image files are links that leave the image root: 3;"):
        mscnn.read_screen(sites=screen)
    assert len(mscnn.read_screen(sites=screen, follow_links=[tmp_path / "other", tmp_path / "second"])) == 4
    with pytest.raises(UsageError, match=r"follow_links: 'a,b' holds a comma"):
        mscnn.read_screen(sites=screen, follow_links=["a,b"])


def test_bbbc021_is_read_with_links_too(tmp_path):
    root, store = tmp_path / "root", tmp_path / "store"
    root.mkdir()
    store.mkdir()
    channels = ("DAPI", "Tubulin", "Actin")
    for channel in channels:
        (store / f"Week1_B02_s1_w{channel}.tif").touch()
        (root / f"Week1_B02_s1_w{channel}.tif").symlink_to(store / f"Week1_B02_s1_w{channel}.tif")
    columns = {f"Image_{kind}_{channel}": value for channel in channels for kind, value in (
        ("FileName", f"Week1_B02_s1_w{channel}.tif"), ("PathName", ""))}
    columns |= {"Image_Metadata_Plate_DAPI": "Week1_1", "Image_Metadata_Well_DAPI": "B02", "Replicate": "1",
                "Image_Metadata_Compound": "taxol", "Image_Metadata_Concentration": "1", "TableNumber": "1",
                "ImageNumber": "1"}
    pd.DataFrame([columns]).to_csv(root / "BBBC021_v1_image.csv", index=False)
    (root / "BBBC021_v1_moa.csv").write_text("compound,concentration,moa\ntaxol,1,M\n")
    with pytest.raises(DataError, match="image files are links that leave the image root: 3;"):
        read_screen(config.Table(bbbc021=str(root)))
    assert len(read_screen(config.Table(bbbc021=str(root), follow_links=str(store)))) == 1


def test_packed_fields_have_no_links():
    with pytest.raises(UsageError, match="--follow-links a was settled when the fields were packed"):
        config.Table(packed="pack", follow_links="a")


def test_a_run_keeps_the_folders_and_may_be_resumed_and_evaluated_with_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").touch()
    asked = config.absolute(from_preset("screen", sites="a.csv", follow_links="x,/y"))
    assert asked.data.follow_links == f"{tmp_path / 'x'},/y"
    train_state.require_same_settings(from_preset("screen", sites="a.csv", follow_links="z"), asked.flat())
    saved = SimpleNamespace(settings=asked.flat(), channels=["DNA"])
    kept, now, other = (load_run.data_settings(EvaluationSettings(checkpoint="run", **given), saved) for given in (
        {}, {"follow_links": "z"}, {"sites": "b.csv", "out": "o"}))
    assert (kept.follow_links, now.follow_links, other.follow_links) == (f"{tmp_path / 'x'},/y", "z", None)


def _two_plates(tmp_path):
    """Two plates whose images have the same names, as Harmony's have."""
    for plate, content in (("P1", "one"), ("P2", "two")):
        (tmp_path / plate / "Images").mkdir(parents=True)
        (tmp_path / plate / "Images" / "r01c01.tiff").write_text(content)
    return pd.DataFrame({"folder": [str(tmp_path / "P2" / "Images")], "name": ["r01c01.tiff"]}, index=[2])


def test_files_of_another_plate_are_not_taken_for_those_that_the_table_names(tmp_path):
    part, problems = _two_plates(tmp_path), []
    resolve_image_paths([part], tmp_path / "P1", problems)
    assert [problem.row for problem in problems] == [2]
    assert problems[0].reason == (f"{tmp_path}/P2/Images/r01c01.tiff is there, and another file than "
                                  f"{tmp_path}/P1/Images/r01c01.tiff")
    for root in (tmp_path, tmp_path / "P2", tmp_path / "P2" / "Images"):
        assert resolve_image_paths([part], root, found := []) == [(str(tmp_path / "P2" / "Images" / "r01c01.tiff"),)]
        assert found == []


def test_a_copy_of_the_files_that_the_table_names_is_read(tmp_path):
    part, problems = _two_plates(tmp_path), []
    shutil.copytree(tmp_path / "P2", tmp_path / "copy")
    [(found,)] = resolve_image_paths([part], tmp_path / "copy", problems)
    assert found == str(tmp_path / "copy" / "Images" / "r01c01.tiff")
    assert problems == []


def test_files_that_lie_elsewhere_are_told_and_not_taken_for_each_other(tmp_path):
    part, problems = _two_plates(tmp_path), []
    both = pd.concat([part, part.replace("/P2/", "/P1/", regex=True)])
    (tmp_path / "out").mkdir()
    first, second = resolve_image_paths([both], tmp_path / "out", problems)
    assert first != second
    assert {problem.kind for problem in problems} == {
        "folders of images lie elsewhere on this machine; name one above all of them as --image-root"}
