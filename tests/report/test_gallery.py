import json

import pandas as pd
import pytest
import torch
from PIL import Image

from mscnn.evaluation import results
from mscnn.evaluation.attribution import Attribution
from mscnn.model import MCNN
from mscnn.report import gallery


def table(rows):
    return pd.DataFrame([{"Metadata_Plate": "P", "Metadata_Well": "B02", "Metadata_Site": str(number),
                          "Metadata_Compound": compound, "Metadata_Concentration": dose, "Metadata_MOA": mechanism,
                          "Predicted_MOA": "m" if p >= 0.5 else "n", "Probability_m": p, "Probability_n": 1 - p}
                         for number, (compound, dose, mechanism, p) in enumerate(rows)])


FIELDS = table([("a", 1.0, "m", 0.9), ("a", 1.0, "m", 0.6), ("a", 1.0, "m", 0.7), ("b", 2.0, "m", 0.1),
                ("b", 2.0, "m", 0.4), ("DMSO", 0.0, "n", 0.2), ("a", float("nan"), "n", 0.3)])
TREATMENTS = table([("a", 1.0, "m", 0.7), ("a", float("nan"), "n", 0.3), ("b", 2.0, "m", 0.25)])


def test_wrong_treatments_come_first_each_by_its_median_field():
    """b is wrong: of its probabilities of n, 0.6 and 0.9, the lower median is row 4. a 1.0: 0.7 is the middle one."""
    assert gallery.choose(FIELDS, TREATMENTS) == [(4, "n"), (2, "m"), (6, "n")]
    assert gallery.choose(FIELDS, TREATMENTS, examples=1) == [(4, "n")]


def test_named_channels_have_their_colours_and_others_their_order():
    field = torch.zeros(3, 30, 30)
    for channel in range(3):
        field[channel, 10 * channel:10 * channel + 10] = 1
    named = gallery.colours(field.numpy(), ("Actin", "DNA", "Tubulin"))
    assert [named[row, 0].tolist() for row in (5, 15, 25)] == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    other = gallery.colours(field.numpy(), ("X", "Y", "Z"))
    assert [other[row, 0].tolist() for row in (5, 15, 25)] == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]


def test_pictures_are_small_and_named_by_numbers(tmp_path, monkeypatch):
    """Noise everywhere, which JPEG compresses least."""
    monkeypatch.setattr(gallery, "attribute", lambda network, field, mechanism, steps: Attribution(
        torch.randn_like(field), torch.randn(7, 4, 8), 1.0, 0.0))
    rows = [(f"../../x<script>{number}", 1.0, "m", 0.9) for number in range(24)]
    entries = gallery.write(table(rows), table(rows), lambda row: torch.randn(2, 256, 512), MCNN(2, 2, 256, 512),
                            classes=["m", "n"], channels=("DNA", "RNA"), out=tmp_path, steps=1)
    files = list((tmp_path / "gallery").iterdir())
    assert json.loads((tmp_path / results.GALLERY).read_text()) == [entry.to_json() for entry in entries]
    assert len(entries) == 24
    assert {path.name for path in files} == {"gallery.json"} | {
        name for entry in entries for name in (entry.files.field, *entry.files.channels, *entry.files.scales)}
    assert all(set(path.stem) <= set("0123456789-chanelsc") for path in files if path.suffix == ".jpg")
    assert sum(path.stat().st_size for path in files) < 4e6
    for entry in entries:
        assert sum(entry.channel_shares) == pytest.approx(1)
        assert sum(entry.scale_shares) == pytest.approx(1)
    sizes = [Image.open(tmp_path / "gallery" / name).size for name in (
        entries[0].files.field, entries[0].files.channels[0], entries[0].files.scales[6])]
    assert sizes == [(384, 192), (192, 96), (192, 96)]
