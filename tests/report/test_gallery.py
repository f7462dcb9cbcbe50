"""Pictures and examples as evaluate.py writes them, of a drawn screen whose counts are known."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from mscnn.core import csv_safe
from mscnn.evaluation import results
from mscnn.evaluation.attribution import Attribution
from mscnn.evaluation.decisions import COLUMNS, TEXT
from mscnn.report import gallery, picture_list, pictures
from mscnn.report.run import Example

EVIL = "../../x<script>"
ROWS = [("dmso", 0.0, "", 0.5), ("dmso", 0.0, "", 0.5), (EVIL, 1.0, "m", 0.9), (EVIL, 3.0, "m", 0.8), ("b", 1.0, "n", 0.7),
        ("c", 1.0, "n", 0.1), ("d", 1.0, "", 0.6), ("e", float("nan"), "", 0.95)]
BRIGHT = {0: 100, 1: 100, 2: 200, 3: 50}  # counts of the brightest pixels of a field; others as field 3


def counts_of(row):
    """Three channels, two of them dark: channel 1 goes from 0 to so many counts. A fourth channel is the inverse."""
    ramp_HW = np.linspace(0, BRIGHT.get(row, 50), 64 * 96).reshape(64, 96)
    return np.stack([0 * ramp_HW, ramp_HW, 0 * ramp_HW, ramp_HW.max() - ramp_HW]).astype(np.uint16)


@pytest.fixture
def evaluation(tmp_path, monkeypatch):
    fields = pd.DataFrame([
        {"Metadata_Plate": "P", "Metadata_Week": "W", "Metadata_Well": f"B{number:02}", "Metadata_Site": "1",
         "Metadata_Replicate": "1", "Metadata_Compound": compound, "Metadata_Concentration": dose,
         "Metadata_MOA": mechanism,
         "Predicted_MOA": "m" if p >= 0.5 else "n", "Probability_m": p, "Probability_n": 1 - p}
        for number, (compound, dose, mechanism, p) in enumerate(ROWS)])
    metadata = fields[[name for name in fields if name.startswith("Metadata_")]]
    monkeypatch.setattr(gallery, "read_pixels", lambda table, row: counts_of(row))
    monkeypatch.setattr(gallery, "attribute", lambda network, field, mechanism, steps: Attribution(
        torch.randn(4, 64, 96), torch.randn(7, 4, 8), 1.0, 0.0))
    reader = SimpleNamespace(table=None, size=None, read=lambda rows: torch.zeros(1, 4, 64, 96))
    found = SimpleNamespace(
        out=tmp_path, network=None, fields=reader, scored=np.arange(2, len(ROWS)),
        predictions=fields.iloc[2:].reset_index(drop=True),
        profiles=metadata.assign(x=np.arange(len(ROWS)), y=1.0), description=SimpleNamespace(
            control="DMSO", aggregate_wells="mean", aggregate_treatments="median", classes=["m", "n"],
            channels=["A", "B", "C", "D"]))
    found.decided = lambda: (found.scored, found.predictions)
    return found


def test_every_kind_is_written_with_its_pictures(evaluation):
    entries = gallery.write(evaluation, examples=3)
    listed = json.loads((evaluation.out / results.GALLERY).read_text())
    assert [Example.from_json(entry) for entry in listed] == entries
    of = {(entry.compound, entry.concentration): entry for entry in entries if entry.pair is None}
    assert {key: (entry.kind, entry.predicted, entry.probability) for key, entry in of.items()} == {
        ("b", 1.0): ("wrong", "m", 0.7), (EVIL, 1.0): ("right", "m", 0.9), ("c", 1.0): ("right", "n", 0.9),
        ("d", 1.0): ("new", "m", 0.6), ("e", None): ("new", "m", 0.95)}
    beside = [(entry.kind, entry.compound) for entry in entries if entry.pair == 0]  # of b, which is first
    assert beside == [("nearest right", "c"), ("nearest right", EVIL), ("control", "dmso")]
    control = next(entry for entry in entries if entry.kind == "control")
    assert (control.predicted, control.probability) == ("", None)
    attributed = [entry for entry in entries if entry.channel_shares]
    assert [entry.kind for entry in attributed] == ["wrong", "right", "new"]
    for entry in attributed:
        assert (sum(entry.channel_shares), sum(entry.scale_shares)) == (pytest.approx(1), pytest.approx(1))
        assert (len(entry.files.channels), len(entry.files.scales)) == (4, 7)
    alone = next(entry for entry in entries if not entry.channel_shares)
    assert (alone.files.channels, alone.files.scales, alone.scale_shares) == ([], [], [])


def test_files_are_named_by_numbers_and_an_earlier_gallery_goes(evaluation):
    folder = evaluation.out / "gallery"
    folder.mkdir()
    for name in ("999.jpg", "picture-9999-0.jpg", "mine.jpg"):
        (folder / name).write_text("old")
    entries = gallery.write(evaluation, examples=1)
    listed = picture_list.read_pictures(evaluation.out)
    assert {path.name for path in folder.iterdir()} == {"gallery.json", "pictures.json", "mine.jpg"} | {
        name for entry in entries for name in (entry.files.field, *entry.files.channels, *entry.files.scales)} | {
        name for picture in listed for name in picture.files}


def test_a_picture_of_each_treatment_and_of_the_control_of_each_plate(evaluation):
    gallery.write(evaluation, examples=1)
    listed = picture_list.read_pictures(evaluation.out)
    assert [(picture.compound, picture.concentration) for picture in listed] == [
        ("dmso", 0.0), (EVIL, 1.0), (EVIL, 3.0), ("b", 1.0), ("c", 1.0), ("d", 1.0), ("e", None)]
    assert [picture.is_control for picture in listed] == [True] + [False] * 6
    assert listed[0].planes == [["C", "B", "A"], [None, None, "D"]]  # red, green, blue
    assert [len(picture.files) for picture in listed] == [2] * 7
    size = Image.open(evaluation.out / "gallery" / listed[0].files[0]).size
    assert (listed[0].width, listed[0].height) == size == (96, 64)


def test_the_best_hits_come_first_where_they_are_ranked(evaluation):
    decisions = pd.DataFrame({**dict.fromkeys(COLUMNS, 1), **dict.fromkeys(TEXT, "x"), "Metadata_Compound": ["e", "d"],
                              "Metadata_Concentration": [None, 1.0], "Metadata_MOA": ""}, index=[0, 1])
    csv_safe.write_csv(decisions, evaluation.out / "decisions.csv")
    entries = gallery.write(evaluation, examples=1)
    assert [entry.compound for entry in entries if entry.kind == "new"] == ["e", "d"]
    csv_safe.write_csv(decisions.iloc[::-1], evaluation.out / "decisions.csv")
    entries = gallery.write(evaluation, examples=1)
    assert [entry.compound for entry in entries if entry.kind == "new"] == ["d", "e"]
    assert [picture.compound for picture in picture_list.read_pictures(evaluation.out)][1:3] == ["d", "e"]


def test_a_dim_field_is_dim_beside_a_bright_one_of_its_plate(evaluation):
    """Green is channel B: the control reaches 1 / 1.3 of white, a field of half its counts half as much."""
    gallery.write(evaluation, examples=1)
    listed = picture_list.read_pictures(evaluation.out)
    greens = [np.asarray(Image.open(evaluation.out / "gallery" / picture.files[0]))[..., 1].max() / 255
              for picture in listed]
    assert greens[0] == pytest.approx(1 / 1.3, abs=0.03)
    assert greens[1] == 1                                   # of twice the counts
    assert greens[2] == pytest.approx(0.5 / 1.3, abs=0.03)  # of half of them


def test_a_network_of_assays_has_pictures_and_no_examples(evaluation):
    evaluation.predictions = evaluation.predictions.drop(columns="Predicted_MOA").assign(Assay_m=1.0, Assay_n=0.0)
    assert gallery.write(evaluation, examples=3) == []
    assert len(picture_list.read_pictures(evaluation.out)) == 7


@pytest.mark.parametrize(("composites", "expected"), [(1, 384), (100, 344), (1000, 108), (100_000, 96)])
def test_pictures_are_as_large_as_all_of_them_may_be(composites, expected):
    """4 MB / 100 / 0.45 bytes a pixel are 88,889 pixels: 344 x 258 of a field of 4 to 3."""
    assert pictures.longest_side(composites, 900, 1200) == expected


def test_of_too_many_treatments_the_first_are_drawn(evaluation, monkeypatch, caplog):
    monkeypatch.setattr(pictures, "MOST", 3)
    gallery.write(evaluation, examples=1)
    assert len(picture_list.read_pictures(evaluation.out)) == 3
