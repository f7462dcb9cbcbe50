"""The page as its reader uses it, in a real browser: hover, filter, sort, frame, download, links, keys."""

import base64
import csv
import hashlib
import io

import numpy as np
import pytest
from axe_playwright_python.base import AXE_FILE_PATH

from mscnn.bench.drawn_evaluation import DrawnScreen, draw
from mscnn.core import csv_safe
from mscnn.evaluation.decisions import read as read_decisions
from mscnn.report import html, run
from mscnn.report.page import places, scripts

EVIL, RIGHT_TO_LEFT, LONG, FORMULA = "<img src=x onerror=alert(1)>", "\u202eknup", "N" * 300, '=1+1,"2"'
READY = "document.documentElement.classList.contains('ready')"
SHOWN = "[...document.querySelectorAll('[data-part=rows] tr')].map(row => [...row.cells].map(cell => cell.textContent))"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw(DrawnScreen(plates=2, wells=24, compounds=9, controls=4, features=8, picture=32,
                            names=(EVIL, RIGHT_TO_LEFT, LONG, FORMULA)), tmp_path_factory.mktemp("page") / "drawn")


@pytest.fixture(scope="module")
def report(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "MAPPED", 0)  # UMAP takes seconds
        html.write([run.read(folder)], folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def decisions(folder):
    return read_decisions(folder)


@pytest.fixture(scope="module")
def opened(report, browser):
    """The page at 1280 pixels, and what its console said."""
    page, said = browser.new_page(viewport={"width": 1280, "height": 900}), []
    for event in ("console", "pageerror", "requestfailed", "dialog"):
        page.on(event, lambda message, event=event: said.append(f"{event}: {message}"))
    page.goto(report.as_uri())
    page.wait_for_function(READY)
    return page, said


@pytest.fixture
def page(opened):
    """The page as it opens, but for its address."""
    page, said = opened
    if page.locator("[data-part=reset]").is_visible():
        page.locator("[data-part=reset]").click()
    yield page
    assert said == []


def names_shown(page) -> list[str]:
    return [row[1] for row in page.evaluate(SHOWN)]


def shortened(name: str) -> str:
    return name if len(name) <= 48 else name[:47] + "…"


def test_the_policy_allows_scripts_of_these_texts_and_no_eval():
    policy = scripts.policy(["one"])
    assert f"script-src 'sha256-{base64.b64encode(hashlib.sha256(b'one').digest()).decode()}'" in policy
    assert "unsafe-eval" not in policy
    assert "script-src" not in scripts.policy([])


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_overflows_nothing_complains_and_axe_finds_nothing_serious(report, browser, width):
    page, said = browser.new_page(viewport={"width": width, "height": 800}), []
    for event in ("console", "pageerror", "requestfailed", "dialog"):
        page.on(event, lambda message, event=event: said.append(f"{event}: {message}"))
    page.goto(report.as_uri())
    page.wait_for_function(READY)
    page.locator(".pick").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert said == []
    page.evaluate(AXE_FILE_PATH.read_text())
    found = page.evaluate("axe.run()")["violations"]
    serious = [each for each in found if each["impact"] in ("serious", "critical")]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in serious] == []
    page.close()


def test_without_scripts_the_first_treatments_and_pictures_are_there(report, browser):
    page = browser.new_context(java_script_enabled=False, viewport={"width": 1280, "height": 900}).new_page()
    page.goto(report.as_uri())
    assert page.locator("[data-part=rows] tr").count() == 18
    assert page.locator(".static img").first.is_visible()
    assert not page.locator("[data-part=download]").is_visible()
    page.close()


def test_names_are_text_isolated_and_shortened(page):
    assert EVIL in names_shown(page)
    assert page.locator("[data-part=rows] img").count() == 0
    assert page.locator(f"bdi[title='{LONG}']").count() > 0
    assert page.locator("[data-part=rows] bdi", has_text=RIGHT_TO_LEFT).count() > 0


def test_a_search_and_a_filter_leave_the_treatments_that_pass(page, decisions):
    page.locator("[data-part=text]").fill("COMPOUND 0004")
    assert names_shown(page) == ["compound 0004"] * 2
    page.locator("[data-part=text]").fill("")
    page.locator("[data-part=active]").check()
    active = decisions[decisions["Active"] == "True"]
    assert 0 < len(active) < len(decisions)
    assert names_shown(page) == [shortened(name) for name in active["Metadata_Compound"]]
    assert page.locator("[data-part=count]").text_content() == f"{len(active)} of 18 treatments"


def test_a_column_sorts_up_then_down_then_as_before(page, decisions):
    header = page.locator("th[data-column=Effect_Size]")
    before = names_shown(page)
    for state, rows in (("ascending", decisions.sort_values("Effect_Size")),
                        ("descending", decisions.sort_values("Effect_Size", ascending=False))):
        header.locator("button").click()
        assert header.get_attribute("aria-sort") == state
        assert names_shown(page) == [shortened(name) for name in rows["Metadata_Compound"]]
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "none"
    assert names_shown(page) == before


def test_a_frame_in_the_map_leaves_the_treatments_within_it(page, folder, decisions, monkeypatch):
    monkeypatch.setattr(places, "MAPPED", 0)
    plot = page.locator("[data-part=map-plot] canvas").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + 8 + box["width"] * 0.14, box["y"] + box["height"] * 0.16)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.86, steps=4)
    page.mouse.up()
    framed = page.evaluate(SHOWN)
    placed = places.place(run.read(folder))
    keys = [(shortened(compound), f"{dose:g}") for compound, dose in
            zip(placed.frame["Metadata_Compound"], placed.frame["Metadata_Concentration"], strict=True)]
    is_framed = np.array([key in {(row[1], row[2]) for row in framed} for key in keys])
    places_T2 = placed.projections[0].places_T2
    low, high = places_T2[is_framed].min(axis=0), places_T2[is_framed].max(axis=0)
    assert 1 < is_framed.sum() == len(framed) < len(decisions)
    np.testing.assert_array_equal(((places_T2 >= low) & (places_T2 <= high)).all(axis=1), is_framed)  # a frame has no holes
    page.locator("[data-part=all]").click()
    assert len(page.evaluate(SHOWN)) == len(decisions)


def test_what_is_downloaded_is_the_table_as_it_is_shown(page, decisions):
    with page.expect_download() as download:
        page.locator("[data-part=download]").click()
    text = download.value.path().read_bytes().decode()
    assert text.count("\r\n") == 19
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [csv_safe.unescape(row["Metadata_Compound"]) for row in rows] == decisions["Metadata_Compound"].tolist()
    assert {row["Metadata_Compound"] for row in rows} >= {csv_safe.escape(FORMULA)}
    for name in ("Q_Value", "Confidence", "Metadata_Concentration"):
        np.testing.assert_allclose([float(row[name]) for row in rows], decisions[name], rtol=1e-5)
    page.locator("[data-part=text]").fill("compound 0004")
    with page.expect_download() as download:
        page.locator("[data-part=download]").click()
    assert len(download.value.path().read_text().splitlines()) == 1 + len(names_shown(page)) < 19


def test_the_pointer_on_a_well_tells_what_is_in_it(page):
    plot = page.locator("[data-part=plate-plot]")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.4)
    page.mouse.move(box["x"] + box["width"] * 0.41, box["y"] + box["height"] * 0.42)
    page.locator(".tip").wait_for(state="visible")
    assert page.locator(".tip .where").text_content().startswith("P0")
    page.mouse.move(2, 2)
    page.locator(".tip").wait_for(state="hidden")


def test_keys_alone_reach_and_choose_a_treatment(page):
    page.locator("[data-part=reset]").evaluate("button => document.querySelector('[data-part=text]').focus()")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.className") == "pick":
            break
    page.keyboard.press("Home")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.locator("tr.chosen td").nth(1).text_content() == names_shown(page)[1]
    assert page.locator("[data-part=title]").text_content().startswith(names_shown(page)[1])


def test_arrow_keys_move_over_the_plate(page):
    page.locator("[data-part=plate-plot]").focus()
    page.keyboard.press("ArrowRight")
    first = page.locator("[data-part=plate-readout] .where").text_content()
    page.keyboard.press("ArrowDown")
    assert page.locator("[data-part=plate-readout] .where").text_content()[:-3] == first[:-3]  # the plate
    assert page.locator("[data-part=plate-readout] .where").text_content() != first


def test_a_link_opens_the_selection_that_it_was_copied_from(page, report, browser):
    page.locator("[data-part=plate]").select_option("1")
    page.locator("[data-part=rows] .pick", has_text="<img").first.click()
    other = browser.new_page(viewport={"width": 1280, "height": 900})
    other.goto(page.url)
    other.wait_for_function(READY)
    assert "treatment=" in page.url
    assert other.locator("[data-part=title]").text_content() == page.locator("[data-part=title]").text_content()
    assert other.locator("[data-part=plate]").input_value() == page.locator("[data-part=plate]").input_value()
    assert other.locator("tr.chosen").count() == 1
    other.close()


def test_a_channel_that_is_switched_off_is_black_in_the_picture(page):
    page.locator(".pick").first.click()
    mask = page.locator("[data-part=pictures] .mask").first
    assert mask.evaluate("each => getComputedStyle(each).backgroundColor") == "rgb(255, 255, 255)"
    page.get_by_role("checkbox", name="tubulin").uncheck()
    assert page.locator("[data-part=pictures] .mask").first.evaluate(
        "each => getComputedStyle(each).backgroundColor") == "rgb(255, 0, 255)"
    page.get_by_role("checkbox", name="tubulin").check()
    assert page.locator("[data-part=pictures] figure").count() == 2  # beside the control of its plate


def test_each_measure_and_colour_can_be_shown(page):
    for select in ("measure", "colour"):
        for value in page.locator(f"[data-part={select}] option").evaluate_all("all => all.map(each => each.value)"):
            page.locator(f"[data-part={select}]").select_option(value)
            legend = "plate-legend" if select == "measure" else "map-legend"
            assert page.locator(f"[data-part={legend}]").text_content()
