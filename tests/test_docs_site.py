"""The documentation site: it builds without a warning, calls no other address, and fits a phone."""

import re
import subprocess
import sys

import pytest

from tests.doc_pages import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs", reason="MkDocs is not installed: requirements-docs.txt")
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    built = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-3000:]
    return folder


def test_the_site_names_no_address_to_load_from(site):
    loads = r"""<(?!a[ >])(?!meta)[^>]*\b(?:src|href|srcset|poster|data)=["']?(https?:|//)[^>]*>"""
    for path in site.rglob("*.html"):
        found = [match[0] for match in re.finditer(loads, path.read_text()) if 'rel="canonical"' not in match[0]]
        assert found == [], path
    for path in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:|//)[^)]*", path.read_text()) == [], path
    for path in site.rglob("*.js"):
        assert re.findall(r"https?://(?:unpkg|api\.|cdn|fonts)[\w./@-]*", path.read_text()) == [], path


@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser_the_site_calls_nobody_and_nothing_overflows(site, browser, width):
    page, asked, failed = browser.new_page(viewport={"width": width, "height": 900}), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("requestfailed", lambda request: None if request.failure == "net::ERR_ABORTED" else failed.append(request.url))
    for path in ("index", "troubleshooting", "reference/settings", "reference/commands", "library"):
        page.goto((site / f"{path}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    page.close()
    assert len(asked) > 5
    assert [url for url in failed if not url.endswith("search/search_index.js")] == []    # search needs a server
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
