"""`mscnn check` refuses what training would refuse, and names the command that trains on the rest."""

import shlex
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest
import tifffile

from mscnn.cli import check, train
from mscnn.core import config
from mscnn.core.errors import DataError, UsageError
from mscnn.data import check_screen
from mscnn.distributed.world import World
from mscnn.training import prepare_data

RNG = np.random.default_rng(0)


@contextmanager
def one_process(workers):
    yield lambda function, paths, what: map(function, paths)


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path, caplog):
    monkeypatch.setattr(check_screen, "readers", one_process)
    monkeypatch.setattr("mscnn.report.plates.draw", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO")


@pytest.fixture
def sites(tmp_path):
    """Two plates of three wells with two fields of 100x300 each; untreated wells are called neg ctl."""
    rows = ["plate,well,site,compound,dose,moa,filename"]
    for plate in "PQ":
        for column, (compound, mechanism) in enumerate((("a", "M"), ("b", "N"), ("neg ctl", "DMSO")), 2):
            for site in (1, 2):
                name = f"{plate}{column}{site}.tif"
                tifffile.imwrite(tmp_path / name, RNG.integers(0, 4000, (100, 300), dtype=np.uint16))
                rows.append(f"{plate},B{column:02},{site},{compound},1,{mechanism},{name}")
    (tmp_path / "my sites.csv").write_text("\n".join(rows) + "\n")
    return "my sites.csv"


def run(sites: str, *words: str) -> None:
    check.main(["--sites", sites, *words])


def refused_by_training(sites: str, **settings) -> str:
    try:
        shape_in_training(config.Data(sites=sites, **settings))
    except (DataError, UsageError) as refusal:
        return str(refusal)
    return ""


def shape_in_training(data: config.Data) -> tuple[int, int, int] | None:
    table = prepare_data.load_sites(data, to_train=True, needs_labels=False)
    return prepare_data.with_shape(table, data.size(), World()).shape


def test_fields_that_do_not_fit_the_network_are_refused_with_sizes_that_do(sites, caplog):
    reason = refused_by_training(sites, control="neg ctl")
    assert "the nearest sizes are --image-size 128x256 (crops) and --image-size 128x384 (pads)" in reason
    with pytest.raises(DataError) as refusal:
        run(sites, "--control", "neg ctl")
    assert refusal.value.details == [reason]  # word for word
    assert pd.read_csv("check/problems.csv")["reason"].tolist() == [reason]
    run(sites, "--control", "neg ctl", "--image-size", "128x384", "--concentration-unit", "uM")
    command = caplog.text.splitlines()[-1].partition("now run: ")[2]
    assert command == ("mscnn train screen --sites 'my sites.csv' --control 'neg ctl' --concentration-unit 'µM' "
                       "--image-size 128x384")
    assert shape_in_training(train.read(shlex.split(command)[2:])[0].data) == (1, 128, 384)  # training takes that command
    with pytest.raises(UsageError, match=r"--image-size 100x256: fields of 100x256 pixels do not fit"):
        run(sites, "--image-size", "100x256")


@pytest.mark.parametrize(("words", "message"), [
    ((), r"no well of DMSO, the control: neg ctl would count as treated"),
    (("--control", "Neg"), r"no well of Neg, the control: neg ctl would count as treated; name the untreated wells"),
    (("--control", "bb"), r"no well of bb.*neg ctl")])
def test_a_control_that_is_nowhere_is_refused_by_check_and_training_alike(sites, words, message):
    with pytest.raises(UsageError, match=message) as refusal:
        run(sites, *words)
    assert str(refusal.value) == refused_by_training(sites, **({"control": words[1]} if words else {}))


def test_a_named_control_that_nothing_looks_like_is_refused_and_the_default_is_a_note(sites, caplog, tmp_path):
    path = tmp_path / sites
    path.write_text(path.read_text().replace("neg ctl", "compound 3").replace("DMSO", "O"))
    with pytest.raises(UsageError, match=r"no well of xyz: .* if there are none .the most frequent compound is a."):
        run(sites, "--control", "xyz", "--image-size", "128x256")
    run(sites, "--image-size", "128x256")
    assert "no well of DMSO: the screen seems to have no untreated wells" in caplog.text
    run(sites, "--image-size", "128x256", "--control", "none")
    assert caplog.text.splitlines()[-1].endswith("--control none --image-size 128x256")


def test_missing_plates_are_one_line_and_available_goes_on_without_them(sites, caplog, tmp_path):
    for name in ("Q21", "Q22", "Q31", "Q32", "Q41", "Q42", "P31"):
        (tmp_path / f"{name}.tif").unlink()
    words = ("--control", "neg ctl", "--image-size", "128x256")
    with pytest.raises(DataError, match="7 problems, all listed in check/problems"):
        run(sites, *words)
    assert "files are missing: 7 in 2 of 2 plates (every file of 1 of them): P, Q; name the folder they are in with " \
           "--image-root, or go on with the rest by --available true" in caplog.text
    assert len(pd.read_csv("check/problems.csv")) == 7
    run(sites, *words, "--available", "true")
    assert "7 of 12 sites are left out, as their image files are not all there (--available): 1 of 2 plates and 3 of 6 " \
           "wells whole, and some sites of 1 more well" in caplog.text
    command = caplog.text.splitlines()[-1].partition("now run: ")[2]
    data = train.read(shlex.split(command)[2:])[0].data
    assert len(prepare_data.load_sites(data, to_train=True, needs_labels=False)) == 5


def test_many_problems_leave_only_those_of_the_whole_on_the_console(sites, monkeypatch, tmp_path):
    monkeypatch.setattr("mscnn.core.errors.SHOWN", 2)
    for name in ("P21", "P22"):
        (tmp_path / f"{name}.tif").unlink()
    with pytest.raises(DataError, match="3 problems") as refusal:
        run(sites, "--control", "neg ctl")
    assert [line[:21] for line in refusal.value.details] == ["fields of 100x300 pix"]


def test_a_screen_without_replicates_gets_a_command_that_trains(sites, caplog, tmp_path):
    table = pd.read_csv(tmp_path / sites)
    table[(table["plate"] == "P") & (table["site"] == 1)].to_csv(tmp_path / sites, index=False)
    run(sites, "--control", "neg ctl", "--image-size", "128x256")
    assert "the replicate contrast needs treatments of several fields, got 3 treatments of one field" in caplog.text
    assert caplog.text.splitlines()[-1].endswith("--image-size 128x256 --replicate-weight 0 --view-weight 1")


def test_the_control_of_bbbc021_is_not_another_ones_to_name(shared_data):
    with pytest.raises(UsageError, match="--control Neg: the untreated wells of BBBC021 are DMSO; leave it out"):
        check.main(["--bbbc021", str(shared_data / "bbbc021_csv"), "--control", "Neg"])
    with pytest.raises(UsageError, match="--control Neg: the untreated wells of BBBC021"):
        prepare_data.load_sites(config.Data(bbbc021=str(shared_data / "bbbc021_csv"), control="Neg"), to_train=True)


def test_most_of_bbbc021_missing_is_one_line_and_every_file_is_in_the_csv(shared_data, caplog):
    """Of its 35,640 images, without the taxol controls, four are there."""
    with pytest.raises(DataError, match="35,636 problems, all listed in") as refusal:
        check.main(["--bbbc021", str(shared_data / "bbbc021_csv"),
                    "--image-root", str(shared_data / "bbbc021_original_tiff" / "images")])
    assert [record.getMessage() for record in caplog.records] == [
        "files are missing: 35,636 in 55 of 55 plates (every file of 51 of them): Week1_22123, Week1_22141, Week1_22161 "
        "and 52 more; name the folder they are in with --image-root, or go on with the rest by --available true"]
    assert refusal.value.details == []
    assert len(pd.read_csv("check/problems.csv")) == 35_636


def test_doses_are_summed_up_with_their_unit_and_never_as_zero_where_there_are_none(sites, caplog, tmp_path):
    words, table = ("--control", "neg ctl", "--image-size", "128x256"), pd.read_csv(tmp_path / sites)
    run(sites, *words, "--concentration-unit", "ug/ml")
    assert "doses       1 µg/ml\n" in caplog.text
    table.drop(columns="dose").to_csv(tmp_path / sites, index=False)
    run(sites, *words)
    assert "doses       not given\n" in caplog.text
