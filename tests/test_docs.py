"""README and docs say what is true: their commands run or parse, links and names exist, the site calls nobody."""

import ast
import dataclasses
import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from mscnn.core import config
from mscnn.core.errors import UsageError
from tests.doc_pages import ROOT, Block, Page, command, lines, pages

_spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs/hooks.py")
hooks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hooks)

PAGES = pages()
RUN = [page for page in PAGES if any(block.language in ("sh", "python") and not block.needs for block in page.blocks())]
TRAINING = re.compile(r"^(?:\w+=\S+ )*(?:torchrun .*)?(?:-m )?(?:mscnn (?:train|loco)|\S*train\.py) ")
EVALUATION = re.compile(r"^mscnn evaluate (?!.*--examples)")
# Options in prose of other programs: torchrun, srun, pip, pytest, git, bash.
FOREIGN = {"--nproc-per-node", "--nnodes", "--rdzv-backend", "--rdzv-endpoint", "--signals-to-handle", "--shutdown-timeout",
           "--max-restarts", "--mpi", "--cpu-bind", "--array", "--requeue", "--signal", "--extra-index-url", "--require-hashes",
           "--requirement", "--full", "--strict", "--oversubscribe"}
INVENTED = re.compile("harmony|plate.means")  # by the pages that explain how to add such a thing
OURS = {"--help", "--help-all", "--version", "--config", "--print-config"}


@pytest.fixture(scope="module")
def commands():
    return hooks.find_all()


MSCNN = """#!/bin/sh
if [ "$1" = synth ]; then  # the same words draw the same plates, so they are drawn once
    drawn=$DRAWN/$(echo "$*" | cksum | tr " " -)
    [ -d "$drawn" ] || (mkdir -p "$drawn" && cd "$drawn" && python -m mscnn "$@") || exit
    cp -r "$drawn/." .
else
    exec python -m mscnn "$@"
fi
"""


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """Environment of a reader who has installed mscnn: `mscnn` and `python` on PATH, and nothing of the checkout."""
    folder = tmp_path_factory.mktemp("bin")
    for name, script in (("mscnn", MSCNN), ("python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')):
        (folder / name).write_text(script)
        (folder / name).chmod(0o755)
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "DRAWN": str(tmp_path_factory.mktemp("drawn"))}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """Folders after the first sh blocks of a page, by their text: pages that begin alike run these blocks once."""
    return tmp_path_factory.mktemp("begun"), {}


def test_the_readme_has_at_most_180_lines():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 180


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    generated = {ROOT / "docs" / name for name in ("reference/commands.md", "reference/settings.md", "changelog.md",
                                                   "development/contributing.md")}
    for link in page.links():
        path, _, anchor = link.partition("#")
        if re.match(r"(https://|mailto:)", link):
            continue
        target = (page.path.parent / path).resolve() if path else page.path
        on_site = page.path.is_relative_to(ROOT / "docs") and target in generated
        assert target.exists() or on_site, f"{page.name}: no file at {link}"
        if anchor and target.suffix == ".md" and not on_site:
            assert anchor in Page(target, target.read_text()).anchors(), f"{page.name}: no heading for {link}"


@pytest.mark.parametrize("page", RUN, ids=lambda page: page.name)
def test_commands_run_as_they_are_written(page, programs, begun, tmp_path, is_full):
    folder, done = tmp_path / "page", ()
    folder.mkdir()
    unmarked = [block for block in page.blocks() if not block.needs]
    for block in unmarked:
        if block.language == "sh":
            done = run_shell(block.text, folder, done, programs, begun, is_full)
    if code := "\n".join(block.text for block in unmarked if block.language == "python"):
        run(["python", "-c", code], folder, programs)


def run_shell(text: str, folder: Path, done: tuple[str, ...], programs: dict, begun: tuple, is_full: bool) -> tuple[str, ...]:
    """Run a block in a folder where the blocks `done` have run, or copy what another page has left. Returns all done now."""
    (copies, kept), done = begun, (*done, text)
    if done in kept:
        shutil.rmtree(folder)
        shutil.copytree(kept[done], folder, symlinks=True)
        return done
    run(["bash", "-euo", "pipefail", "-c", "\n".join(line if is_full else short(line) for line in lines(text))], folder, programs)
    kept[done] = copies / str(len(kept))
    shutil.copytree(folder, kept[done], symlinks=True)
    return done


def run(words: list[str], folder: Path, programs: dict) -> None:
    result = subprocess.run(words, cwd=folder, env=programs, capture_output=True, text=True, timeout=900)
    assert result.returncode == 0, f"{words[-1]}\n{result.stdout[-2000:]}\n{result.stderr[-3000:]}"


def short(line: str) -> str:
    """Return a line of a shell, trainings cut to two steps and galleries to one field."""
    less = "--max-steps 2" if TRAINING.match(line) else "--examples 1" if EVALUATION.match(line) else ""
    return re.sub(r"\s*(#.*)?$", rf" {less}  \1", line, count=1) if less else line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_are_not_run_have_settings_that_exist(page, commands):
    for block in page.blocks():
        assert not block.needs or block.needs in hooks.NEEDS, f"{page.name}: needs {block.needs!r}"
        assert block.language in ("sh", "python", "text", "csv", "yaml"), f"{page.name}: a block of {block.language!r}"
        if block.language == "python":
            compile(block.text, page.name, "exec")
        if block.language != "sh":
            continue
        for line in lines(block.text):
            if (words := command(line)) is not None:
                check_command(words, commands, f"{page.name}: {line}")


def check_command(words: list[str], commands: dict, place: str) -> None:
    """Parse the arguments as the command does."""
    name, *arguments = words or ["nothing"]
    if name in ("--version", "--help"):
        return
    assert name in commands, f"{place}: no command {name}"
    if "--config" in arguments:  # the reader's own file
        at = arguments.index("--config")
        del arguments[at:at + 2]
    try:
        values = commands[name].read(arguments)
        if name == "train":
            config.from_flat(values)
    except UsageError as problem:
        pytest.fail(f"{place}: {problem}")
    except SystemExit as ended:  # --help, --print-config
        assert not ended.code, place


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_in_prose_exist(page, commands):
    kinds: dict[str, list] = {}
    for field in (field for each in commands.values() for _, group in each.groups() for field in group):
        kinds.setdefault(f"--{field.name.replace('_', '-')}", []).append(field.type)
    targets = re.findall(r"^([\w-]+(?: [\w-]+)*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for span in page.spans():
        if INVENTED.search(span):
            continue
        for option, value in re.findall(r"(?<!\S)(--[a-z][a-z0-9-]*)(?:[ =]([\w-]+))?", span):
            assert option in kinds or option in FOREIGN | OURS, f"{page.name}: `{span}`: no setting {option}"
            allowed = {word for kind in kinds.get(option, []) for word in choices(kind)}
            assert not (allowed and value) or value in allowed or value.isupper(), f"{page.name}: `{span}`: one of {allowed}"
        if (typed := re.match(r"(?:python -m )?mscnn (bench )?([a-z][\w-]*)", span)) and typed[0] != "mscnn bench":
            assert (typed[1] or "") + typed[2] in {*commands, "bench"}, f"{page.name}: `{span}`: no such command"
        if made := re.match(r"make ([\w-]+)", span):
            assert made[1] in " ".join(targets).split(), f"{page.name}: `{span}`: no such target"
        if re.fullmatch(r"(mscnn|tests|slurm|docs|examples|\.ci)/[\w./-]+", span):
            assert (ROOT / span).exists(), f"{page.name}: no file {span}"
        if re.fullmatch(r"(requirements[\w-]*\.\w+|[A-Z]+\.(md|cff)|pyproject\.toml|mkdocs\.yml)", span):
            assert (ROOT / span).exists(), f"{page.name}: no file {span}"


def choices(kind: typing.Any) -> tuple[str, ...]:
    """Return the words that a setting of this type takes, () where it takes others too."""
    return typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()


def test_messages_of_the_troubleshooting_page_are_the_programs_own():
    constants = []
    for path in (ROOT / "mscnn").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                constants.append(" ".join(re.sub(r"%\S*[sdf]", "\0", node.value).split()))
    known = "\n".join(constants)
    text = (ROOT / "docs/troubleshooting.md").read_text()
    headings = re.findall(r"^### `(.+)`$", text, re.MULTILINE)
    assert len(headings) > 25
    for heading in headings:
        for fragment in heading.split("..."):
            words = fragment.strip(" ,;:()?")
            assert len(words) < 4 or words in known, f"no message has {words!r}"


def test_the_reference_has_every_setting_and_command(commands):
    page = hooks.settings_page()
    for field in (field for record in config.GROUPS.values() for field in dataclasses.fields(record)):
        assert page.count(f"{{ #{field.name.replace('_', '-')} }}") == 1
    assert "| `--lr`{ #lr }<br>text | `0.01`<br>demo: `0.01;30;0.002`<br>fields256: " in page
    sections = hooks.commands_page().split("\n## mscnn ")
    assert [section.split(" {")[0] for section in sections[1:]] == [*commands]
    pack = next(section for section in sections if section.startswith("pack "))
    assert "| `--out`<br>text | *required* | folder for the packed fields" in pack


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
def test_in_a_browser_the_site_calls_nobody_and_nothing_overflows(site, width):
    driver = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: requirements-dev.txt")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no chromium on PATH to look at the site with; apt-get install chromium")
    with driver.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page, asked = browser.new_page(viewport={"width": width, "height": 900}), []
        page.on("request", lambda request: asked.append(request.url))
        for path in ("index.html", "troubleshooting.html", "reference/settings.html", "reference/commands.html", "library.html"):
            page.goto((site / path).as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        browser.close()
    assert len(asked) > 5
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
