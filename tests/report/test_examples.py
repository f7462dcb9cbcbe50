"""The report's section of examples."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscnn.core.errors import DataError
from mscnn.report import examples, run
from mscnn.report.run import Example, ExampleFiles
from tests.report.test_html import CLASSES, folds, plain, written  # noqa: F401 a fixture

FILES = ExampleFiles("000.jpg", [], [])


def example(compound, kind, predicted="m", mechanism="m", probability=0.9, pair=None, dose=1.0):
    return Example(compound, dose, mechanism, predicted, probability, "P", "B02", "1", [], [], FILES, kind, pair)


@pytest.fixture
def two(tmp_path):
    """Two folders with a picture."""
    paths = [tmp_path / name for name in ("one", "two")]
    for path in paths:
        path.mkdir()
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path / "000.jpg")
    return paths


def test_examples_of_all_folds_are_one_list(two):
    """Numbers of pairs are of their own gallery."""
    one, other = two
    found = examples.shown([
        (one, example("w1", "wrong", mechanism="n", probability=0.6)), (one, example("DMSO", "control", "", "", None, 0)),
        (one, example("r1", "right", probability=0.7)), (one, example("r1", "right", probability=0.69)),
        (other, example("r2", "right", probability=0.6)), (other, example("w2", "wrong", mechanism="n", probability=0.8)),
        (other, example("DMSO", "control", "", "", None, 1)), (other, example("new", "new", mechanism=""))])
    assert [(each.example.compound, len(each.beside)) for each in found.wrong] == [("w2", 1), ("w1", 1)]
    assert {name: [each.example.compound for each in of] for name, of in found.right.items()} == {"m": ["r1", "r2"]}
    assert ([each.example.compound for each in found.new], found.wrongs) == (["new"], 2)


def test_at_most_twelve_wrong_ones_are_shown_of_those_counted(two):
    found = examples.shown([(two[0], example(str(number), "wrong", mechanism="n")) for number in range(20)])
    assert (len(found.wrong), found.wrongs) == (12, 20)
    assert examples.shown([]) is None


def gallery_of(folds: Path, *entries: Example) -> None:  # noqa: F811
    for listing in (folds / "evaluation").glob("*/gallery/gallery.json"):
        listing.write_text("[]")
    (folds / "evaluation" / "0" / "gallery" / "gallery.json").write_text(json.dumps([entry.to_json() for entry in entries]))


def test_a_wrong_one_stands_beside_what_it_should_look_like_what_it_was_taken_for_and_the_control(folds, tmp_path):  # noqa: F811
    gallery_of(folds, example("w", "wrong", predicted="taken", mechanism="true"),
               example("t", "nearest right", predicted="", mechanism="true", probability=None, pair=0),
               example("k", "nearest right", predicted="taken", mechanism="taken", pair=0),
               example("DMSO", "control", "", "", None, pair=0, dose=0.0))
    text = plain(written(folds, out=tmp_path / "report.html"))
    assert "Treatments taken for another mechanism (1 of 1 shown, the surest first)" in text
    assert "w 1 µM, true, taken for taken (probability 0.90)" in text
    assert "what it should look liket 1 µM, true, trained on" in text
    assert "what it was taken fork 1 µM, taken, rightly predicted" in text
    assert "control, for comparisonDMSOplate P" in text  # the dose of the control, 0, is none


def test_a_dose_that_is_not_given_is_not_shown_as_zero(folds, tmp_path):  # noqa: F811
    """The finding: a missing dose read 0 µM."""
    gallery_of(folds, example("nodose", "right", dose=None))
    text = plain(written(folds, out=tmp_path / "report.html"))
    assert "nodose, m (probability 0.90)" in text
    assert "0 µM" not in text


def test_a_new_compound_is_predicted_and_not_taken_for(folds, tmp_path):  # noqa: F811
    gallery_of(folds, example("x", "new", mechanism=""), example("k", "nearest right", pair=0))
    text = plain(written(folds, out=tmp_path / "report.html"))
    assert "Compounds without a known mechanism (1 shown)" in text
    assert "x 1 µM, predicted m (probability 0.90)" in text
    assert "a known one of the predicted mechanism" in text
    assert 'class="parts"' not in written(folds, out=tmp_path / "report.html")  # no attribution


def test_an_example_beside_one_that_is_not_there_is_refused(folds):  # noqa: F811
    gallery_of(folds, example("x", "control", pair=1))
    with pytest.raises(DataError, match=r"gallery\.json: \[0\] stands beside \[1\], and there are 1"):
        run.read(folds)
