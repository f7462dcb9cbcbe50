"""Tables of profiles as other programs write them."""

import json

import numpy as np
import pandas as pd
import pytest

from mscnn.core.errors import DataError, UsageError
from mscnn.evaluation import aggregate
from mscnn.profiling import correction
from mscnn.profiling.profile_table import from_frame, read
from tests.conftest import run_python

# A CellProfiler-like table of wells: identifiers, file names, a feature with a hole, values that look like something else.
TABLE = pd.DataFrame({
    "ImageNumber": [1, 2, 3, 4], "Metadata_Plate": ["00123", "00123", "7", "7"],
    "Metadata_Well": ["B02", "B03", "B02", "B03"],
    "Metadata_Compound": ["NA", "ICI-182,780", "NA", "DMSO"], "Metadata_Concentration": ["0.30", "1e1", "0.3", ""],
    "Metadata_MOA": ["m", "n", "m", "DMSO"], "Metadata_Batch": ["1", "2", "2", "1"],
    "Image_FileName_DNA": ["a.tif", "b.tif", "c.tif", "d.tif"], "Image_Metadata_QC": [1, 1, 1, 1],
    "Cells_Area": [1.5, 2.5, 3.5, 4.5], "Nuclei_Count": [10, 20, 30, 40], "Predicted_MOA": list("mnmn"),
    "Probability_m": [0.1, 0.2, 0.3, 0.4]})


@pytest.fixture(params=["profiles.csv", "profiles.csv.gz", "profiles.parquet"])
def write(request, tmp_path):
    """Writes a table to each kind of file in turn."""
    def write(table: pd.DataFrame):
        path = tmp_path / request.param
        table.to_parquet(path, index=False) if path.suffix == ".parquet" else table.to_csv(path, index=False)
        return path
    return write


def test_features_are_the_numbers_that_are_no_metadata_and_metadata_stays_as_it_is(write):
    table = read(write(TABLE))
    assert table.names == ["Cells_Area", "Nuclei_Count"]
    assert table.features_SF.tolist() == [[1.5, 10], [2.5, 20], [3.5, 30], [4.5, 40]]
    assert table.metadata["Metadata_Compound"].tolist() == ["NA", "ICI-182,780", "NA", "DMSO"]
    assert table.metadata["Metadata_Plate"].tolist() == ["00123", "00123", "7", "7"]
    np.testing.assert_array_equal(table.metadata["Metadata_Concentration"], [0.3, 10, 0.3, np.nan])
    assert table.metadata["Metadata_Week"].tolist() == ["1", "2", "2", "1"]
    assert table.is_control("dmso").tolist() == [False, False, False, True]
    assert read(write(TABLE), prefixes=("Nuclei_",)).names == ["Nuclei_Count"]


def test_week_goes_before_batch_and_numbers_of_weeks_are_text(write):
    table = TABLE.assign(Metadata_Week=[1.0, 2.0, np.nan, 4.5])
    assert read(write(table)).metadata["Metadata_Week"].tolist() in (["1", "2", "", "4.5"], ["1.0", "2.0", "", "4.5"])


def test_missing_columns_are_all_named(write):
    with pytest.raises(DataError, match=r"no column Metadata_MOA; .*has Metadata_Plate"):
        read(write(TABLE.drop(columns=["Metadata_MOA", "Metadata_Batch"])))
    with pytest.raises(UsageError, match="no feature columns; it has"):
        read(write(TABLE.drop(columns=["Cells_Area", "Nuclei_Count"])))
    with pytest.raises(UsageError, match="no feature columns that start with Cytoplasm_"):
        read(write(TABLE), prefixes=("Cytoplasm_",))


@pytest.mark.parametrize("hole", [np.nan, np.inf])
def test_features_that_are_not_finite_are_named_or_left_out(write, hole):
    path = write(TABLE.assign(Cells_Area=[1.0, hole, 3.0, hole]))
    with pytest.raises(DataError, match="1 of 2 features are not finite") as refusal:
        read(path)
    assert refusal.value.details == ["Cells_Area: 2 of 4 rows"]
    assert read(path, drop_nan=True).names == ["Nuclei_Count"]
    with pytest.raises(DataError, match="no feature is a finite number"):
        read(write(TABLE.assign(Cells_Area=hole, Nuclei_Count=hole)), drop_nan=True, prefixes=("Cells_", "Nuclei_"))


def test_a_word_among_numbers_is_no_reason_to_drop_a_feature_silently(tmp_path):
    path = tmp_path / "profiles.csv"
    TABLE.assign(Cells_Area=["1.5", "2.5", "oops", "4.5"]).to_csv(path, index=False)
    with pytest.raises(DataError) as refusal:
        read(path)
    assert refusal.value.details == ["Cells_Area: 1 of 4 rows"]


def test_concentrations_that_are_no_numbers_are_named(write):
    with pytest.raises(DataError, match="no numbers") as refusal:
        read(write(TABLE.assign(Metadata_Concentration=["low", "1", "high", "0"])))
    assert refusal.value.details == ["high", "low"]


def test_files_that_are_no_tables(tmp_path):
    for name, content, what in (("a.parquet", b"nothing", "no readable parquet"),
                                ("a.csv", b"\xff\xfe\x00", "cannot be read"),
                                ("a.csv.gz", b"plain", "cannot be read"), ("b.csv", b"", "cannot be read")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=what):
            read(tmp_path / name)
    with pytest.raises(DataError, match="cannot be read"):
        read(tmp_path / "missing.csv")
    with pytest.raises(UsageError, match=r"read from .csv, .csv.gz, .parquet or .h5ad, got .xlsx"):
        read(tmp_path / "table.xlsx")


# ---- the command

def official(shared_data, seed: int = 0) -> pd.DataFrame:
    """All fields of BBBC021 with official metadata, and features that tell mechanism and compound."""
    images = pd.read_csv(shared_data / "bbbc021_csv" / "BBBC021_v1_image.csv")
    annotations = pd.read_csv(shared_data / "bbbc021_csv" / "BBBC021_v1_moa.csv")
    keys = ["Image_Metadata_Compound", "Image_Metadata_Concentration"]
    joined = images.merge(annotations, left_on=keys, right_on=["compound", "concentration"], how="left")
    rng = np.random.default_rng(seed)
    parts = [rng.normal(size=(size, 16))[codes] for codes in (
        joined["moa"].astype("category").cat.codes, joined[keys[0]].astype("category").cat.codes, np.arange(len(joined)))
        for size in [codes.max() + 2]]
    features = pd.DataFrame(parts[0] + parts[1] + 0.3 * parts[2], columns=[f"Cells_F{number}" for number in range(16)])
    return pd.concat([pd.DataFrame({
        "Metadata_Plate": joined["Image_Metadata_Plate_DAPI"], "Metadata_Well": joined["Image_Metadata_Well_DAPI"],
        "Metadata_Week": joined["Image_Metadata_Plate_DAPI"].str.split("_").str[0],
        "Metadata_Compound": joined[keys[0]], "Metadata_Concentration": joined[keys[1]], "Metadata_MOA": joined["moa"]}),
        features], axis=1)


def test_bbbc021_has_103_treatments_of_which_nscb_scores_92(shared_data, tmp_path):
    official(shared_data).to_parquet(tmp_path / "profiles.parquet")
    done = run_python("-m", "mscnn", "score", tmp_path / "profiles.parquet", "--json", tmp_path / "new" / "scores.json")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "new" / "scores.json").read_text())
    assert [result[name]["total"] for name in ("nsc", "nscb", "same_compound_allowed")] == [103, 92, 103]
    assert result["nscb"]["of_all"]["total"] == 103
    assert {name.split(" ")[0] for name in result["nscb"]["unscorable"]} == {
        "PD-169316", "alsterpaullone", "bryostatin", "mevinolin/lovastatin", "simvastatin"}
    assert sum(row["treatments"] for row in result["mechanisms"]) == 103
    assert (len(result["mechanisms"]), result["nsc"]["interval"]["compounds"]) == (12, 38)
    assert f"{result['nscb']['correct']}/92 " in done.stdout
    kept = run_python("-m", "mscnn", "score", tmp_path / "profiles.parquet", "--taxol-controls", "keep",
                      "--normalise", "mad", "--sphere", "true", "--bootstrap", "100", "--permutations", "100",
                      "--json", tmp_path / "kept.json")
    assert kept.returncode == 0, kept.stderr
    assert "taxol 0.3" in json.loads((tmp_path / "kept.json").read_text())["nscb"]["unscorable"]  # it is in every week


def test_the_command_gives_the_functions_scores(tmp_path):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"Metadata_Compound": np.repeat([*"abcdef", "DMSO"], 3), "Metadata_Concentration": 1.0,
                         "Metadata_MOA": np.repeat([*"MMNNOO", ""], 3), "Metadata_Week": ["W1", "W2", "W3"] * 7,
                         "x": rng.normal(size=21), "y": rng.normal(size=21)})
    rows.to_csv(tmp_path / "profiles.csv", index=False)
    done = run_python("-m", "mscnn", "score", tmp_path / "profiles.csv", "--aggregate-treatments", "mean", "--similarity",
                      "euclidean",
                      "--json", tmp_path / "scores.json")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "scores.json").read_text())
    means = rows.groupby("Metadata_Compound")[["x", "y"]].mean().drop(index="DMSO")
    nearest = [min((np.hypot(*(means.loc[own] - means.loc[other])), other) for other in means.index if other != own)[1]
               for own in means.index]
    assert [row["nsc"]["neighbour"] for row in result["treatments"]] == [f"{name} 1" for name in nearest]
    assert result["nscb"]["total"] == 0  # all are in all weeks
    assert result["counted"] == {"rows": 21, "control": 3, "unlabelled": 0, "wells": 18, "features": 2}


@pytest.mark.parametrize(("change", "code", "words"), [
    ({"Metadata_MOA": ""}, 3, "no row but DMSO has a mechanism"), ({"Metadata_Compound": "a"}, 3, "a is the only compound"),
    ({"Metadata_Batch": ["1"] + (len(TABLE) - 1) * [""]}, 3, "nothing can be scored: no treatment that counts shares its"),
    ({"Cells_Area": "x"}, 2, "no feature columns; it has")])
def test_what_cannot_be_scored_is_refused_in_one_line(tmp_path, change, code, words):
    TABLE.assign(**change).drop(columns="Nuclei_Count").to_csv(tmp_path / "profiles.csv", index=False)
    done = run_python("-m", "mscnn", "score", tmp_path / "profiles.csv", "--json", tmp_path / "scores.json")
    assert done.returncode == code, done.stdout + done.stderr
    assert words in done.stderr
    assert not (tmp_path / "scores.json").exists()


def test_round_trips_through_pycytominer_and_copairs(tmp_path, monkeypatch):
    """What evaluate.py writes is what other programs take: aggregated, normalised, selected there as here."""
    pycytominer = pytest.importorskip("pycytominer", reason="pycytominer is not installed: requirements-profiling.txt")
    fields = embedding_table()
    features = [name for name in fields if name.startswith(aggregate.EMBEDDING)]
    path = tmp_path / "profiles.parquet"
    fields.to_parquet(path, index=False)
    for method, theirs in (("z", "standardize"), ("mad", "mad_robustize")):
        options = {"mad_robustize_epsilon": 0} if method == "mad" else {}
        expected = pd.concat([pycytominer.normalize(
            own, features="infer", image_features=True, meta_features="infer", samples="Metadata_Compound == 'DMSO'",
            method=theirs, **options) for _, own in fields.groupby("Metadata_Plate", sort=True)])
        monkeypatch.setattr(correction, "LEAST_SHARE", 0)  # the floor of ours, which others lack
        mine = correction.normalise_plates(read(path), method, "DMSO")
        order = fields.sort_values("Metadata_Plate", kind="stable").index
        np.testing.assert_allclose(mine.features_SF[order], expected[features].to_numpy(), rtol=1e-4, atol=1e-5)
    strata = ["Metadata_Plate", "Metadata_Well", "Metadata_Compound"]
    wells = pycytominer.aggregate(fields, strata=strata, features=features, operation="mean")
    assert len(wells) == 12
    chosen = pycytominer.feature_select(fields.assign(Image_MCNN_Emb_008=1.0), features=[*features], image_features=True,
                                        operation=["variance_threshold", "drop_na_columns"])
    assert "Image_MCNN_Emb_008" not in chosen
    assert "Image_MCNN_Emb_001" in chosen


def test_copairs_finds_the_replicates(tmp_path):
    import copairs.map as copairs

    fields = embedding_table().query("Metadata_Compound != 'DMSO'")
    features = fields.filter(like=aggregate.EMBEDDING).to_numpy()
    found = copairs.average_precision(
        fields.filter(like="Metadata_"), features, pos_sameby=["Metadata_Compound"], pos_diffby=["Metadata_Plate"],
        neg_sameby=[], neg_diffby=["Metadata_Compound"])
    assert (found["average_precision"] == 1).all()  # a and b point opposite ways by construction


def embedding_table() -> pd.DataFrame:
    """Two plates of three compounds and DMSO, two wells a plate, two fields a well, as evaluate.py writes them."""
    from tests.conftest import make_table

    rng = np.random.default_rng(0)
    rows = [(plate, f"{row}{compound}", compound, float(compound != "DMSO"), "Week1") for plate in ("P1", "P2")
            for compound in ("a", "b", "DMSO") for row in "BC" for _ in range(2)]
    table = make_table(rows, "plate well compound concentration week")
    centres = {"a": 4, "b": -4, "DMSO": 0}
    features = rng.normal(size=(len(rows), 8)) * 0.5
    features[:, :4] += np.array([centres[row[2]] for row in rows])[:, None] * [1, -1, 1, 0.5]
    return aggregate.field_profiles(table, features)


def test_a_prefix_names_features_alone():
    frame = pd.DataFrame({"Metadata_Compound": ["a", "b"], "Metadata_Concentration": [1, 1], "Metadata_MOA": ["M", "N"],
                          "f1": [1.0, 2.0]})
    for prefixes in (("f", ""), ("f", "Meta"), ("Metadata_Conc",), (" ",)):
        with pytest.raises(UsageError, match="is no prefix of features alone"):
            from_frame(frame, "table", prefixes=prefixes)
    with pytest.raises(UsageError, match="no feature columns that start with g"):
        from_frame(frame, "table", prefixes=("f", "g"))


def test_what_counts_is_true_or_false():
    frame = pd.DataFrame({"Metadata_Compound": ["a", "b"], "Metadata_Concentration": [1, 1], "Metadata_MOA": ["M", "N"],
                          "f1": [1.0, 2.0]})
    for values in ([1.0, 0.0], ["True", "false"], [True, False], ["1", "0"]):
        assert from_frame(frame.assign(Metadata_Scored=values), "table").metadata["Scored"].tolist() == [True, False]
    with pytest.raises(DataError, match="Metadata_Scored holds 'yes', neither true nor false"):
        from_frame(frame.assign(Metadata_Scored="yes"), "table")


def test_rows_without_a_mechanism_have_that_of_their_treatment():
    frame = pd.DataFrame({"Metadata_Compound": ["a", "a", "a", "b"], "Metadata_Concentration": [1, 1, 3, 1],
                          "Metadata_MOA": ["M", "", "", ""], "f1": 1.0})
    assert from_frame(frame, "table").metadata["Metadata_MOA"].tolist() == ["M", "M", "", ""]
    frame.loc[3] = ["a", 1, "N", 1.0]  # two of them: neither is taken for the row without
    assert from_frame(frame, "table").metadata["Metadata_MOA"].tolist() == ["M", "", "", "N"]
