"""README and docs name what is there: links, settings, commands, files, messages; the reference has them all."""

import ast
import dataclasses
import importlib.util
import re
import tomllib
import typing

import pytest

from mscnn.core import config
from mscnn.core.errors import UsageError
from tests.doc_pages import ROOT, Page, command, lines, pages
from tests.test_structure import STRATA

_spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs/hooks.py")
hooks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hooks)

PAGES = pages()
GENERATED = {ROOT / "docs" / name for name in ("reference/commands.md", "reference/settings.md", "changelog.md",
                                               "development/contributing.md")}
# Options in prose of other programs: torchrun, srun, pip, pytest, git, bash.
FOREIGN = {"--nproc-per-node", "--nnodes", "--rdzv-backend", "--rdzv-endpoint", "--signals-to-handle", "--shutdown-timeout",
           "--max-restarts", "--mpi", "--cpu-bind", "--array", "--requeue", "--signal", "--extra-index-url",
           "--index-url", "--directory",
           "--require-hashes", "--requirement", "--full", "--strict", "--oversubscribe"}
INVENTED = re.compile("rxrx|plate.means")  # by the pages that explain how to add such a thing
OURS = {"--help", "--help-all", "--version", "--config", "--print-config"}


@pytest.fixture(scope="module")
def commands():
    return hooks.find_all()


def test_the_readme_has_at_most_180_lines():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 180


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in page.links():
        path, _, anchor = link.partition("#")
        if re.match(r"(https://|mailto:)", link):
            continue
        target = (page.path.parent / path).resolve() if path else page.path
        on_site = page.path.is_relative_to(ROOT / "docs") and target in GENERATED
        assert target.exists() or on_site, f"{page.name}: no file at {link}"
        if anchor and target.suffix == ".md" and not on_site:
            assert anchor in Page(target, target.read_text()).anchors(), f"{page.name}: no heading for {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_are_not_run_have_settings_that_exist(page, commands):
    for block in page.blocks():
        assert not block.needs or block.needs in hooks.NEEDS, f"{page.name}: needs {block.needs!r}"
        known = ("sh", "python", "text", "csv", "yaml", "bibtex")
        assert block.language in known, f"{page.name}: a block of {block.language!r}"
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
        if ended.code:
            pytest.fail(f"{place}: exit code {ended.code}")


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
            fits = not allowed or not value or value in allowed or value.isupper()
            assert fits, f"{page.name}: `{span}`: {option} is one of {allowed}"
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
    assert "| `--lr`{ #lr }<br>text | `0.01`<br>demo: `0.01;30;0.002;40`<br>fields256: " in page
    sections = hooks.commands_page().split("\n## mscnn ")
    assert [section.split(" {")[0] for section in sections[1:]] == [*commands]
    pack = next(section for section in sections if section.startswith("pack "))
    assert "| `--out`<br>text | *required* | folder for the packed fields" in pack


def test_the_extras_are_those_of_the_package():
    text = (ROOT / "docs/getting-started.md").read_text()
    table = text[text.index("| extra | for |"):].partition("\n\n")[0]
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == {*extras}


@pytest.mark.parametrize("name", ["README.md", "docs/development/architecture.md"])
def test_the_map_of_the_code_has_the_layers_of_the_code(name):
    rows = re.findall(r"^\| (\d) (`mscnn/.*?) \|", (ROOT / name).read_text(), re.MULTILINE)
    layers = {folder: int(number) for number, folders in rows for folder in re.findall(r"`mscnn/(\w+)/`", folders)}
    assert layers == STRATA
