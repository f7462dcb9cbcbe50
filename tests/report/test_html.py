"""The report, read as text and looked at by a real browser."""

import base64
import hashlib
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mscnn.core.errors import DataError
from mscnn.data.tables.splits import SplitRecord
from mscnn.evaluation import aggregate, results, scoring
from mscnn.evaluation.readout_scores import CandidateScore, ReadoutScores
from mscnn.evaluation.results import EvaluationDescription, FoldDescription
from mscnn.evaluation.scoring import BaselineResult, BaselineResults, BaselineScores
from mscnn.profiling import retrieval
from mscnn.profiling.profile_table import ProfileTable
from mscnn.report import figures, html, run
from mscnn.report.page import places
from tests.conftest import run_python

EVIL = "<script>alert(1)</script>/../$x$"
CLASSES = ["bright", "dark & <b>bold</b>"]


def predictions(compounds: dict[str, int], wrong: set[str] = frozenset()) -> pd.DataFrame:
    """Two doses, two plates, two fields a well of each compound; compounds: {name: class}; wrong: those that are not."""
    rows = []
    for number, (compound, true) in enumerate(compounds.items()):
        for dose in (0.3, 3.0):
            for plate in ("P1", "P2"):
                for site in ("1", "2"):
                    taken = 1 - true if compound in wrong else true
                    probability = 0.6 + 0.1 * (dose > 1) + 0.05 * (plate == "P2")
                    rows.append((plate, "Week1", f"B{number + 2:02d}{dose:g}", site, "1", compound, dose, CLASSES[true],
                                 CLASSES[taken], probability if taken == 0 else 1 - probability))
    table = pd.DataFrame(rows, columns=[f"Metadata_{name}" for name in (
        "Plate", "Week", "Well", "Site", "Replicate", "Compound", "Concentration", "MOA")] + ["Predicted_MOA", "p"])
    first = table.pop("p")
    return table.assign(**{f"Probability_{CLASSES[0]}": first, f"Probability_{CLASSES[1]}": 1 - first})


COMPOUNDS = {"a": 0, "b": 1, EVIL: 0, "d": 1, "e": 0, "f": 1}


def split_of(*held_out: str, leaks: str = "") -> SplitRecord:
    return SplitRecord("leave-compound-out", list(held_out), leaks, sha256="abcdef0123456789" * 4,
                       sites={"train": 24, "test": 8, "unused": 0},
                       trained={"compounds": [], "mechanisms": CLASSES, "weeks": []}, unlearnable=[])


def score_of(table: pd.DataFrame) -> BaselineScores:
    tables = aggregate.aggregate(table, "DMSO")
    return BaselineScores(**scoring.scores(tables, "DMSO", draws=50, permutations=50),
                          compounds_fields=scoring.by_compound(table, "DMSO"),
                          compounds_treatments=scoring.by_compound(tables["treatments"], "DMSO"))


def baselines(folds: int, **held_out: pd.DataFrame) -> str:
    """baselines.json; right under a random split."""
    at_random = score_of(predictions(COMPOUNDS))
    return json.dumps(BaselineResults(folds, {
        name: BaselineResult("real" if "features" in name else "shortcut", score_of(table), at_random)
        for name, table in held_out.items()}).to_json())


@pytest.fixture
def folds(tmp_path):
    """A finished folder of folds: b is wrong, an example of it in the gallery."""
    out = tmp_path / "loco"
    for number, compound in enumerate(COMPOUNDS):
        folder = out / f"fold-{number}"
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text("preset: demo\nseed: 3\nepochs: 2\nsites: sites.csv\n")
        (folder / "metrics.jsonl").write_text("".join(
            json.dumps({"kind": "train", "step": step, "epoch": step / 2, "loss": 1 / step}) + "\n" for step in (1, 2, 3)))
        (folder / "summary.json").write_text(json.dumps({"fields": 48, "seconds": 3.0, "images_per_second": 16.0,
                                                         "peak_memory_gib": 1.25}))
        (folder / "environment.json").write_text(json.dumps({"cpu": "A <CPU>", "packages": {"torch": "2.13"}}))
        gallery = out / "evaluation" / str(number) / "gallery"
        gallery.mkdir(parents=True)
        for name in ("000", "000-channel-0", *(f"000-scale-{scale}" for scale in range(7))):
            Image.fromarray(np.full((64, 80, 3), 40 * number, np.uint8)).save(gallery / f"{name}.jpg")
        (gallery / "gallery.json").write_text(json.dumps([{
            "files": {"field": "000.jpg", "channels": ["000-channel-0.jpg"],
                      "scales": [f"000-scale-{scale}.jpg" for scale in range(7)]},
            "compound": compound, "concentration": 0.3, "mechanism": CLASSES[COMPOUNDS[compound]],
            "predicted": CLASSES[COMPOUNDS[compound] ^ (compound == "b")], "probability": 0.75, "plate": "P1",
            "well": "B02", "site": "1", "channel_shares": [1.0], "scale_shares": [0.4, *[0.1] * 6]}]))
    (out / "scores").mkdir()
    results.write(predictions(COMPOUNDS, wrong={"b"}), EvaluationDescription(
        control="DMSO", aggregate_wells="mean", aggregate_treatments="median", tta="none", head="softmax",
        notes=["a note <i>"], seed=3, channels=["D&A"], environment={},
        folds=[FoldDescription(f"x/{number}", f"x/fold-{number}/checkpoints/last.safetensors", split_of(name))
               for number, name in enumerate(COMPOUNDS)]), out / "scores")
    wrong = predictions(COMPOUNDS, wrong={*COMPOUNDS})
    (out / "scores" / "baselines.json").write_text(baselines(4, **{
        "largest class": wrong, "week only": wrong, "file name only": predictions(COMPOUNDS),
        "handcrafted features": predictions(COMPOUNDS)}))
    return out


def written(*runs, out) -> str:
    html.write([run.read(path) for path in runs], out)
    return out.read_text()


def plain(text: str) -> str:
    """Without tags, styles, scripts and line ends."""
    text = re.sub(r"<(script|style).*?</\1>", "", text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", re.sub("&nbsp;|</t[dh]>", " ", text)))


def without_own_scripts(text: str) -> str:
    """Without the scripts of the page, each of which its policy must allow by its hash, and without data."""
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    for script in re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
        text = text.replace(f"<script>{script}</script>", "")
    assert policy.count("sha256") == 2
    assert "unsafe-eval" not in policy
    return re.sub(r'<script type="application/json">[^<]*</script>', "", text)


def test_the_headline_says_how_many_of_how_many_and_stands_beside_the_baseline(folds, tmp_path):
    text = plain(written(folds, out=tmp_path / "report.html"))
    assert "10/12 (83.3 %) treatments right (95 % interval over 6 compounds:" in text
    assert "40/48 (83.3 %) fields" in text
    assert "each by a network that was trained without the compound (6 trainings, leave-compound-out)" in text
    # 10 of 12 against 12 of 12, both of one of six compounds
    assert "= Level with the best baseline, handcrafted features: the network gets 10/12 (83.3 %) treatments right" in text
    assert "The difference is -16.7 points (95 % interval -50.0 to +0.0): 6 compounds cannot tell them apart." in text


@pytest.mark.parametrize(("chosen", "adds"), [("statistics", False), ("product", True)])
def test_the_read_out_that_predicts_is_named_and_whether_the_network_adds_to_it(folds, tmp_path, chosen, adds):
    description = results.read_description(folds / "scores")
    kept = (folds / "scores" / "baselines.json").read_text()
    names = {"statistics": 1, "network": 0, "product": 1, "network, by plate controls": 0}
    readout = ReadoutScores(chosen, "chosen in 5 of 6 folds", 6, {
        name: CandidateScore(5 * (name == chosen), None if "controls" in name else 0.25,
                             "no untreated wells" if "controls" in name else "") for name in names})
    alone = {name: predictions(COMPOUNDS, wrong=set() if right else {*COMPOUNDS}) for name, right in names.items()
             if "controls" not in name}
    results.write(alone["statistics"], description, folds / "scores", readout, alone)
    (folds / "scores" / "baselines.json").write_text(kept)
    text = plain(written(folds, out=tmp_path / "report.html"))
    assert "= Level with the best baseline, handcrafted features: the prediction gets 12/12" in text
    said = "The network adds nothing to it: inner folds chose statistics alone in 5 of 6 folds; the network alone gets 0/48"
    assert (said in text) != adds
    assert f"Which read-out predicts? {chosen}: chosen in 5 of 6 folds. Each fold chooses anew." in text
    assert "no untreated wells" in text


def test_a_network_that_cannot_be_judged_is_not_said_to_add_nothing(folds, tmp_path):
    description, kept = results.read_description(folds / "scores"), (folds / "scores" / "baselines.json").read_text()
    alone = {name: predictions(COMPOUNDS, wrong=set()) for name in ("statistics", "network")}
    results.write(alone["statistics"], description, folds / "scores", ReadoutScores("statistics", "why", 1, {
        "statistics": CandidateScore(1, 0.25), "network": CandidateScore(0, None, "not judged: it saw them")}), alone)
    (folds / "scores" / "baselines.json").write_text(kept)
    text = plain(written(folds, out=tmp_path / "report.html"))
    assert "Statistics alone predict: the network is not judged: it saw them; alone it gets 48/48 (100.0 %) fields." in text
    assert "Not chosen from: 1 read-out (not judged: it saw them)." in text
    assert "adds nothing" not in text


def test_a_network_below_its_baseline_is_said_to_be(folds, tmp_path):
    worse = predictions(COMPOUNDS, wrong={*COMPOUNDS})
    description = results.read_description(folds / "scores")
    kept = (folds / "scores" / "baselines.json").read_text()
    results.write(worse, description, folds / "scores")  # baselines of an earlier evaluation go with it
    (folds / "scores" / "baselines.json").write_text(kept)
    text = plain(written(folds, out=tmp_path / "report.html"))
    assert "▼ Below the best baseline" in text
    assert "-100.0 points: over 6 compounds, more than chance" in text


def profiles(*, opposed: bool) -> ProfileTable:
    """Profiles of COMPOUNDS by mechanism; opposed: each is like those of the other mechanism."""
    numbers = range(len(COMPOUNDS))
    metadata = pd.DataFrame({"Metadata_Compound": [*COMPOUNDS], "Metadata_Concentration": 1.0,
                             "Metadata_MOA": [CLASSES[true] for true in COMPOUNDS.values()],
                             "Metadata_Week": [f"W{number}" for number in numbers], "Scored": True})
    angles = np.array([true + (number % 3 if opposed else 0) for number, true in enumerate(COMPOUNDS.values())])
    points_SF = np.column_stack([np.cos(2 * angles), np.sin(2 * angles)]) + 0.01 * np.eye(6, 2)
    return ProfileTable(metadata, points_SF, ["x", "y"])


@pytest.mark.parametrize("below", [True, False])
def test_profiles_of_the_network_stand_beside_tables_without_training(folds, tmp_path, below):
    written_before = BaselineResults.from_json(json.loads((folds / "scores" / "baselines.json").read_text()))
    compared = retrieval.compare({EVIL: profiles(opposed=not below)}, [profiles(opposed=below)], note="a <b>note</b>")
    (folds / "scores" / "baselines.json").write_text(json.dumps(replace(written_before, retrieval=compared).to_json()))
    html_text = written(folds, out=tmp_path / "report.html")
    text = plain(html_text)
    means = [table.nsc.mean_average_precision.mean for table in (compared.network, compared.tables[EVIL])]
    assert (means[0] < means[1]) == below
    sign, state = ("▼", "Below") if below else ("▲", "Above")
    assert f"{sign} {state} the best table that needs no training, &lt;script&gt;" in text
    assert f"mean average precision of {means[0]:.3f}, the table {means[1]:.3f}." in text
    assert f"The difference is {compared.difference.difference:+.3f} (95 % interval" in text
    row = text[text.index("mAP, label permutation the network"):]
    assert f"the network {means[0]:.3f} ({compared.network.nsc.mean_average_precision.interval.low:.2f} to" in row
    assert f"{compared.network.nsc.correct}/6 (" in row
    assert EVIL not in html_text
    assert "<b>note</b>" not in html_text
    assert text.index("the network's profiles") < text.index("Scores and baselines")


def test_of_few_compounds_no_more_is_said_than_they_can_tell(folds, tmp_path):
    few = {name: COMPOUNDS[name] for name in ("a", "b")}
    results.write(predictions(few), results.read_description(folds / "scores"), folds / "scores")
    wrong = predictions(few, wrong={"b"})
    (folds / "scores" / "baselines.json").write_text(baselines(2, **{
        "largest class": wrong, "week only": predictions(few), "handcrafted features": wrong}))
    text = plain(written(folds, out=tmp_path / "report.html"))
    assert "= Level with the best baseline" in text
    assert "The difference is +50.0 points: 2 compounds cannot tell them apart." in text
    assert "week 16/16 (100.0 %) 48/48 (100.0 %) too few compounds, or fields, to tell" in text


def test_a_random_split_is_not_called_held_out_and_may_hold_controls(folds, tmp_path):
    description = results.read_description(folds / "scores")
    description = replace(description, folds=[replace(description.folds[0], split=split_of("a", leaks="all sides"))])
    both = predictions({"a": 0, "b": 1, "DMSO": 0}).replace({"Metadata_MOA": {}})
    both.loc[both["Metadata_Compound"] == "DMSO", "Metadata_MOA"] = "DMSO"
    results.write(both, description, folds / "scores")
    text = plain(written(folds, out=tmp_path / "report.html"))
    assert "of fields that were taken out at random." in text
    for claim in ("trained without the compound (", "held out of training (", "No compound is on both sides"):
        assert claim not in text


def test_shortcuts_are_judged_by_what_they_get_on_compounds_left_out(folds, tmp_path):
    """With 3 and 3 compounds, 20 dealings are as good as each other: none is rare, so the fixture's p are set by hand."""
    path = folds / "scores" / "baselines.json"
    content = json.loads(path.read_text())
    for name, held_out, at_random in (("week only", 0.6, 0.01), ("file name only", 0.01, 0.01)):
        content["baselines"][name]["held out"]["fields"]["permuted"]["p"] = held_out
        content["baselines"][name]["random"]["fields"]["permuted"]["p"] = at_random
    path.write_text(json.dumps(content))
    text = plain(written(folds, out=tmp_path / "report.html"))
    assert "week 0/48 (0.0 %) 48/48 (100.0 %) would be learned from a random split; leaving compounds out prev" in text
    assert "file name 48/48 (100.0 %) 48/48 (100.0 %) tells the mechanism of what was tested" in text


def test_nothing_of_a_table_becomes_markup_and_nothing_comes_from_outside(folds, tmp_path):
    text = without_own_scripts(written(folds, out=tmp_path / "report.html"))
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;/../$x$" in text
    assert "dark &amp; &lt;b&gt;bold" in text
    assert "a note &lt;i&gt;" in text
    assert "A &lt;CPU&gt;" in text
    assert not re.findall(r"""(?:src|href)=["'](?!data:image/|#)""", text)
    assert "http" not in re.sub(r"base64,[\w+/=]*", "", text).replace("http-equiv", "")


def test_examples_of_wrong_treatments_come_first(folds, tmp_path):
    text = plain(written(folds, out=tmp_path / "report.html"))
    assert text.index("taken for another mechanism (1 of 1 shown") < text.index("The clearest of each mechanism")
    assert "b 0.3 µM, dark &amp; &lt;b&gt;bold&lt;/b&gt;, taken for bright (probability 0.75)" in text
    assert "D&amp;A 100 %" in text


def test_where_nothing_is_scored_no_section_of_scores_is_left(folds, tmp_path):
    """The finding: predictions of new compounds had no report."""
    unknown = predictions(COMPOUNDS).assign(Metadata_MOA="")
    results.write(unknown, results.read_description(folds / "scores"), folds / "scores")
    text = plain(written(folds, out=tmp_path / "report.html"))
    assert "No mechanism is known here, so nothing is scored: 12 treatments of 6 compounds, 48 fields." in text
    for heading in ("Scores, baselines", "Which mechanisms are confused?", "Can probabilities be believed?",
                    "mechanism treatm", "No baselines were run", "0/0"):
        assert heading not in text
    assert "From which concentration on is the predicted mechanism seen?" in text
    assert text.count("dose curve of") == 0
    assert len(html._shown(run.read(folds), 1, 1).new_doses) == 6


def test_one_compound_is_not_said_to_be_compounds(folds, tmp_path):
    """The finding: "1 compounds"."""
    results.write(predictions({"a": 0}), results.read_description(folds / "scores"), folds / "scores")
    text = plain(written(folds, out=tmp_path / "report.html"))
    assert "95 % interval over 1 compound:" in text
    assert not re.findall(r".{80}\b1 compounds", text)


def test_a_leaking_split_is_said_before_everything_else(folds, tmp_path):
    described = json.loads((folds / "scores" / "evaluation.json").read_text())
    described["folds"][0]["split"]["leaks"] = "fields of the same wells are on both sides"
    (folds / "scores" / "evaluation.json").write_text(json.dumps(described))
    text = plain(written(folds, out=tmp_path / "report.html"))
    assert text.index("LEAKS: fields of the same wells") < text.index("treatments right")


def test_several_runs_stand_side_by_side(folds, tmp_path):
    shutil.copytree(folds, tmp_path / "second")
    (tmp_path / "second" / "scores" / "baselines.json").unlink()
    text = plain(written(folds, tmp_path / "second", out=tmp_path / "report.html"))
    assert "loco 3 40/48 (83.3 %)" in text
    assert "second 3 40/48 (83.3 %)" in text
    assert "No baselines were run beside it" in text


def test_what_is_missing_is_named_with_what_writes_it(folds, tmp_path):
    (folds / "scores" / "scores.json").unlink()
    with pytest.raises(DataError, match=r"neither evaluation/scores.json nor scores/scores.json .* finish its folds"):
        run.read(folds)
    done = run_python("-m", "mscnn", "report", folds, "--out", tmp_path / "new" / "report.html")
    assert done.returncode == 3, done.stderr
    assert not (tmp_path / "new").exists()


def test_an_earlier_report_stays_whole_when_a_new_one_fails(folds, tmp_path):
    before = written(folds, out=tmp_path / "report.html")
    next((folds / "evaluation").glob("*/gallery/000.jpg")).unlink()
    with pytest.raises(DataError, match=r"000.jpg: is missing; evaluate the run again"):
        written(folds, out=tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == before


@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser_nothing_overflows_and_nothing_complains(folds, tmp_path, browser, width):
    done = run_python("-m", "mscnn", "report", folds)
    assert done.returncode == 0, done.stderr
    page, said = browser.new_page(viewport={"width": width, "height": 800}), []
    for event in ("console", "pageerror", "requestfailed", "dialog"):
        page.on(event, lambda message, event=event: said.append(f"{event}: {message}"))
    page.goto((folds / "report.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].filter(image => !image.naturalWidth).length") == 0
    assert page.evaluate("document.images.length") > 40
    assert said == []
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_report_of_thousands_of_compounds_is_bounded(folds, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "to_svg", lambda figure: "<svg/>")
    monkeypatch.setattr(figures, "maps", lambda *arguments: {})
    monkeypatch.setattr(places, "MAPPED", 0)  # UMAP takes seconds
    many = predictions({f"compound-{number:04}": number % 2 for number in range(400)})
    results.write(many, results.read_description(folds / "scores"), folds / "scores")
    shown = html._shown(run.read(folds), 1, 1)
    assert len(shown.doses) == html.DOSES
    text = written(folds, out=tmp_path / "report.html")
    assert "The first 50 of 800 treatments." in text
    assert "The first 60 compounds; wells.csv has all of them." in text
    assert without_own_scripts(text).count("compound-") < html.ROWS
    assert html._names(["a"] * 5000).endswith("; a and 4,960 more")


@pytest.mark.parametrize(("name", "change", "words"), [
    ("scores.json", lambda text: text.replace('"correct": 40', '"correct": 41'), "give 40/48 right, its scores say 41/48"),
    ("scores.json", lambda text: text.replace('"interval"', '"x"'), "the score of fields lacks its interval"),
    ("evaluation.json", lambda text: text.replace('"folds"', '"x"'), "lacks checkpoint, step, compounds"),
    ("evaluation.json", lambda text: text.replace("x/fold-0/checkpoints/last.safetensors", "last"), "folds names 'last'"),
    ("evaluation.json", lambda text: text.replace('"x/0"', '".."'), r"folds names '..', which is in no folder"),
    ("treatments.csv", lambda text: text.rsplit("\n", 2)[0] + "\n", "of treatments give 9/11 right, its scores say 10/12"),
    ("treatments.csv", lambda text: text.replace("0.625", "0.05"), "row 1 predicts 'bright', where"),
    ("treatments.csv", lambda text: text.replace("0.625", "inf"), "holds inf in row 1, not a finite number"),
    ("treatments.csv", lambda text: text.replace("0.625", "1.65"), "holds 1.65 in row 1, not a probability"),
    ("treatments.csv", lambda text: text.replace("Metadata_MOA", "MOA"), "lacks Metadata_MOA"),
    ("baselines.json", lambda text: text.replace('"correct": 0', '"correct": 1', 1), "fields of 0/48, and fields of 1/48")])
def test_files_that_do_not_belong_together_are_refused(folds, name, change, words):
    path = folds / "scores" / name
    changed = change(path.read_text())
    assert changed != path.read_text()
    path.write_text(changed)
    with pytest.raises(DataError, match=words) as refusal:
        run.read(folds)
    assert "\n" not in str(refusal.value)
