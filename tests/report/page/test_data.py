"""What the page is made of, read as data."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from mscnn.bench.drawn_evaluation import DrawnScreen, draw
from mscnn.core.errors import DataError
from mscnn.evaluation import decisions, quality_file, results
from mscnn.report import html, palette, run
from mscnn.report.page import data, pictures, places

EVIL = "</script><script>alert(1)</script>"


@pytest.fixture(autouse=True)
def no_umap(monkeypatch):
    monkeypatch.setattr(places, "MAPPED", 0)  # UMAP takes seconds


def explored(folder) -> tuple[data.Explorer, dict]:
    of_run = run.read(folder)
    styles = palette.mechanism_styles(["mechanism 0", "mechanism 1", "mechanism 2"])
    explorer = data.explore(of_run, places.place(of_run), styles, 1, 1)
    return explorer, json.loads(explorer.json)


def test_json_cannot_leave_its_element(tmp_path):
    explorer, document = explored(draw(DrawnScreen(wells=24, compounds=4, controls=4, picture=0, names=(EVIL,)),
                                       tmp_path / "drawn"))
    assert "<" not in explorer.json
    assert EVIL in document["treatments"]["Metadata_Compound"]
    assert data.to_json({"line": "\u2028"}) == '{"line":"\\u2028"}'


def test_each_well_has_its_place_prediction_measures_and_treatment(tmp_path):
    folder = draw(DrawnScreen(wells=24, compounds=4, controls=4, picture=0), tmp_path / "drawn")
    _, document = explored(folder)
    wells, of_run = document["plates"], run.read(folder)
    assert (wells["names"], wells["rows"], wells["columns"]) == (["P01", "P02"], 4, 6)
    assert sum(wells["control"]) == 8
    table = of_run.tables["wells"].set_index(["Metadata_Plate", "Metadata_Well"])
    quality = quality_file.read(folder).set_index(["Metadata_Plate", "Metadata_Well"])
    for number in (0, 17, 40):
        key = (wells["names"][wells["plate"][number]], wells["well"][number])
        assert "ABCD"[wells["row"][number]] + f"{wells['column'][number] + 1:02}" == key[1]
        assert wells["names_of"][wells["predicted"][number]] == table.loc[key, "Predicted_MOA"]
        assert wells["probabilities"]["mechanism 1"][number] == round(1000 * table.loc[key, "Probability_mechanism 1"])
        assert wells["measures"]["Quality_Cells"]["values"][number] == quality.loc[key, "Quality_Cells"]
        assert wells["flags"][number] == quality.loc[key, "Flags"]
        treatment = wells["treatment"][number]
        assert (treatment == -1) == (table.loc[key, "Metadata_Compound"] == "DMSO")
        if treatment >= 0:
            assert document["treatments"]["Metadata_Compound"][treatment] == table.loc[key, "Metadata_Compound"]


def test_wells_that_are_not_predicted_have_the_known_mechanism_of_their_treatment(tmp_path):
    """Of a run the fields that were trained on are measured and placed on the map, and are not in wells.csv."""
    folder = draw(DrawnScreen(wells=24, compounds=4, controls=4, picture=0), tmp_path / "drawn")
    fields = results.read_table(folder, "fields")
    second = fields[fields["Metadata_Plate"] == "P02"].reset_index(drop=True)
    results.write(second, results.read_description(folder), folder)
    _, document = explored(folder)
    wells, mechanisms = document["plates"], document["treatments"]["Metadata_MOA"]
    first = [well for well, plate in enumerate(wells["plate"]) if plate == 0]
    assert len(first) == 24
    assert not any(wells["predicted"][well] for well in first)
    known = [wells["names_of"][wells["known"][well]] for well in first]
    assert known == [mechanisms[wells["treatment"][well]] if wells["treatment"][well] >= 0 else "" for well in first]
    assert {"mechanism 0", "mechanism 1", ""} == {*known}


def test_a_p_that_cannot_be_low_tells_nothing_of_known_mechanisms(tmp_path, monkeypatch):
    """Of 6 compounds whose mechanism was left out, p is at least 1 / 7, and 0.1 is what a known mechanism takes."""
    folder = draw(DrawnScreen(wells=24, compounds=4, controls=4, picture=0), tmp_path / "drawn")
    for least, words in ((1 / 7, "cannot be told: with so few known compounds p of none of the known is at least 0.14"),
                         (0.05, "near to a known mechanism")):
        monkeypatch.setattr(data, "_least_p", lambda _, least=least: least)
        explorer, document = explored(folder)
        assert document["tells_unlike"] == (least < 0.1)
        shown = SimpleNamespace(explorer=explorer, run=run.read(folder))
        assert words in html.environment().get_template("hits.html").render(shown=shown)


def test_without_optional_files_predictions_are_shown_and_what_is_missing_is_told(tmp_path):
    folder = draw(DrawnScreen(wells=24, compounds=4, controls=4, picture=0, decided=False), tmp_path / "drawn")
    explorer, document = explored(folder)
    table = run.read(folder).tables["treatments"]
    assert explorer.total == len(table) == 8
    found = dict(zip(zip(document["treatments"]["Metadata_Compound"], document["treatments"]["Metadata_Concentration"],
                         strict=True), document["treatments"]["Probability"], strict=True))
    for row in table.to_dict("records"):
        expected = row[f"Probability_{row['Predicted_MOA']}"]
        assert found[row["Metadata_Compound"], row["Metadata_Concentration"]] == pytest.approx(expected, rel=1e-5)
    assert sum(document["treatments"]["Wells"]) == 40
    assert [words.split(":")[0] for words in explorer.missing] == [
        "Calibrated confidence, activity and nearest known compounds", "Cell counts, focus and flags of quality",
        "Pictures of treatments"]
    assert "evaluate again" in explorer.missing[0]


def test_a_report_of_a_folder_of_an_evaluation_needs_no_run_and_no_known_mechanism(tmp_path):
    """As `evaluate.py --checkpoint RUN --sites NEW.csv --out DIR` leaves it."""
    folder = draw(DrawnScreen(wells=24, compounds=4, controls=4, known=0, picture=0), tmp_path / "drawn")
    html.write([run.read(folder)], folder / "report.html")
    text = (folder / "report.html").read_text()
    active = (decisions.read(folder)["Active"] == "True").sum()
    assert f"<strong>{active} of 8 treatments</strong> differ from the control wells" in text
    assert "whether a mechanism is known cannot be told" not in text
    assert 'href="#treatment=compound+000' in text  # hits come first, each a link
    assert 'id="scores"' not in text
    assert "BBBC021" not in text


def test_where_no_p_can_be_small_the_page_says_so_as_the_console_does(monkeypatch, tmp_path):
    folder = draw(DrawnScreen(wells=24, compounds=4, controls=4, picture=0), tmp_path / "drawn")
    html.write([run.read(folder)], folder / "report.html")
    assert "near to a known mechanism" in (folder / "report.html").read_text()
    known = SimpleNamespace(numbers=SimpleNamespace(known=SimpleNamespace(left_out=3)))
    assert data._least_p(SimpleNamespace(profile_scores=SimpleNamespace(tables={"network": known}))) == 0.25
    monkeypatch.setattr(data, "_least_p", lambda run: 0.25)
    html.write([run.read(folder)], folder / "report.html")
    text = (folder / "report.html").read_text()
    assert "cannot be told: with so few known compounds p of none of the known is at least 0.25" in text
    assert "near to a known mechanism" not in text


@pytest.mark.parametrize("screen", [
    DrawnScreen(plates=1, wells=24, compounds=1, controls=22, picture=0),  # one compound
    DrawnScreen(plates=1, wells=24, compounds=4, controls=0, picture=0, decided=False),
    DrawnScreen(plates=1, wells=6, compounds=1, controls=5, picture=0),
    DrawnScreen(plates=1, wells=24, compounds=4, controls=4, picture=32, predicted=False)],
    ids=["one compound", "no controls", "one treatment", "nothing predicted"])
def test_small_screens_have_a_page(tmp_path, screen):
    folder = draw(screen, tmp_path / "drawn")
    assert html.write([run.read(folder)], folder / "report.html") > 1_000_000
    assert "mscnn baselines" not in (folder / "report.html").read_text()  # which read a run, and there is none


def test_pictures_stop_at_the_limit_and_those_of_the_control_stay(tmp_path, monkeypatch):
    folder = draw(DrawnScreen(wells=24, compounds=4, controls=4, picture=32), tmp_path / "drawn")
    numbers = {(f"compound {number // 2:04}", (1.0, 10.0)[number % 2]): number for number in range(8)}
    everything, left_out = pictures.choose([folder], numbers, 0)
    assert (len(everything), left_out) == (2 + 8, 0)
    monkeypatch.setattr(pictures, "LEAST", 0)
    monkeypatch.setattr(pictures, "LIMIT", 7 + sum(len(file) for each in everything[:5] for file in each["files"]))
    chosen, left_out = pictures.choose([folder], numbers, 7)
    assert [each["treatment"] for each in chosen] == [-1, -1, 0, 1, 2]
    assert left_out == 5


def test_a_picture_outside_of_its_folder_is_refused(tmp_path):
    folder = draw(DrawnScreen(wells=24, compounds=4, controls=4, picture=32), tmp_path / "drawn")
    listing = folder / results.PICTURES
    listing.write_text(listing.read_text().replace("picture-0000-0.jpg", "../../secret.jpg"))
    with pytest.raises(DataError, match=r"'\.\./\.\./secret\.jpg' is no picture of a gallery"):
        explored(folder)
    listing.write_text(listing.read_text().replace('"planes"', '"x"'))
    with pytest.raises(DataError, match="planes"):
        explored(folder)


@pytest.mark.parametrize("name", [results.DECISIONS, results.QUALITY])
def test_a_damaged_file_is_refused_by_its_name(tmp_path, name):
    folder = draw(DrawnScreen(wells=24, compounds=4, controls=4, picture=0), tmp_path / "drawn")
    (folder / name).write_bytes(b"\x00")
    with pytest.raises(DataError, match=name) as refusal:
        explored(folder)
    assert "\n" not in str(refusal.value)


def test_treatments_that_only_profiles_hold_are_in_the_table_and_on_the_map(tmp_path):
    folder = draw(DrawnScreen(wells=24, compounds=4, controls=4, picture=0), tmp_path / "drawn")
    kept = decisions.read(folder).head(3)
    kept.to_csv(folder / results.DECISIONS, index=False)
    explorer, document = explored(folder)
    assert explorer.total == 8
    assert document["treatments"]["Rank"] == [1, 2, 3, None, None, None, None, None]
    assert None not in document["places"]["PCA"]["x"]


def test_pca_places_agree_with_a_singular_value_decomposition():
    features_TF = np.random.default_rng(0).normal(size=(30, 5))
    scaled = (features_TF - features_TF.mean(axis=0)) / features_TF.std(axis=0)
    left, sizes, _ = np.linalg.svd(scaled, full_matrices=False)
    [pca] = places.project(features_TF)
    np.testing.assert_allclose(np.abs(pca.places_T2), np.abs(left[:, :2] * sizes[:2]), atol=1e-9)
    assert places.project(features_TF[:3]) == places.project(np.ones((9, 5))) == []
