"""Scripts of the page, and the policy that lets a browser run these and no others."""

import base64
import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

OWN = ("words.js", "state.js", "filter.js", "csv.js", "tip.js", "colours.js", "plate.js", "map.js", "table.js", "viewer.js",
       "address.js", "page.js")  # in the order in which they use each other
STYLE = "page.css"


@dataclass(frozen=True)
class Scripts:
    """Texts of script elements, and what the page's policy says of them."""

    texts: list[str]
    policy: str  # of Content-Security-Policy


def load() -> Scripts:
    """Return Bokeh's library and the page's own scripts; names of a table take no part in either."""
    here = Path(__file__).parent
    own = "\n".join((here / name).read_text(encoding="utf-8") for name in OWN)
    library = (resources.files("bokeh") / "server/static/js/bokeh.min.js").read_text(encoding="utf-8")
    texts = [library.replace("</script", "<\\/script"), f'(() => {{\n"use strict";\n{own}\n}})();']
    return Scripts(texts, policy(texts))


def load_style() -> str:
    """Return the style sheet of the page."""
    return (Path(__file__).parent / STYLE).read_text(encoding="utf-8")


def policy(texts: list[str]) -> str:
    """Return a content security policy: nothing from outside, pictures within the page, and scripts of these texts only.

    https://www.w3.org/TR/CSP3/#external-hash
    """
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts)
    return "default-src 'none'; img-src data:; style-src 'unsafe-inline'" + (f"; script-src {hashes}" if hashes else "")
