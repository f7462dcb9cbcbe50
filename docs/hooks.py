"""Write the pages that the program knows best: commands, settings, and the files at the root.  `make docs` runs this.

MkDocs calls the functions named on_...  Nothing here is a second list: names, values, defaults and meanings come from the
records of settings that the commands themselves read.
"""

import dataclasses
import importlib
import re
import typing
from pathlib import Path
from typing import Any

from mscnn import cli
from mscnn.cli import help_page
from mscnn.core import config, settings
from mscnn.core.presets import PRESETS
from mscnn.core.settings import BOUNDS, REQUIRED, option

ROOT = Path(__file__).parent.parent
# What a fenced block may need, as ```sh needs="bbbc021"; the site shows the words above the block.
NEEDS = {"bbbc021": "needs the archives of BBBC021", "cluster": "needs several machines, or a scheduler",
         "container": "needs Apptainer or Docker",
         "checkout": "from a checkout", "screen": "needs images of your own", "time": "takes minutes, or hours"}
OUTSIDE = re.compile(r"https://(?:unpkg\.com|api\.github\.com)")  # what Material's script can load, unused here


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages to the site."""
    from mkdocs.structure.files import File  # here, so that tests can read NEEDS without MkDocs

    pages = {"reference/commands.md": commands_page(), "reference/settings.md": settings_page(),
             "changelog.md": root_page("CHANGELOG.md", "."),
             "development/contributing.md": root_page("CONTRIBUTING.md", "..")}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Show what a fenced block needs as its title."""
    return re.sub(r'^(\s*```\w+) needs="(\w+)"', lambda fence: f'{fence[1]} title="{NEEDS[fence[2]]}"', markdown,
                  flags=re.MULTILINE)


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Keep the dashes and the name of an option on one line."""
    whole = r'<span class="option">\g<0></span>'
    return re.sub(r"(?<=<code>)[^<\n]*(?=</code>)", lambda text: re.sub(r"--[a-z][a-z0-9-]*", whole, text[0]), html)


def on_post_build(config: Any) -> None:
    """Take the addresses out of the theme's scripts, which load diagrams and stars from them where a page asks."""
    for script in Path(config.site_dir).rglob("*.js"):
        script.write_text(OUTSIDE.sub("", script.read_text()))


def commands_page() -> str:
    """Return the page of all commands: description, usage, and a table of the settings of each."""
    commands = find_all()
    lines = ["# Commands", "",
             "`mscnn COMMAND` is the same as `python -m mscnn COMMAND`. `mscnn COMMAND --help` shows the common settings, "
             "`--help-all` all. This page is written by the program itself.", "",
             "| command | what it does |", "|---|---|"]
    lines += [f"| [`mscnn {name}`](#mscnn-{name.replace(' ', '-')}) | {cell(command.description.splitlines()[0])} |"
              for name, command in commands.items()]
    for name, command in commands.items():
        summary, _, rest = command.description.strip().partition("\n")
        lines += ["", f"## mscnn {name} {{ #mscnn-{name.replace(' ', '-')} }}", "", summary, ""]
        if rest.strip():
            lines += ["```text", rest.strip(), "```", ""]
        lines += ["```text", f"usage: {usage(command)}", "```"]
        for title, fields in own_groups(command):
            lines += ["", f"**{title.strip()}**", "", "| setting | default | meaning |", "|---|---|---|"]
            lines += [f"| {spelled(field)}<br>{values(field)} | {default(field)} | {cell(field.metadata['help'])} |"
                      for field in fields]
        if is_training(command):
            lines += ["", "It also takes all [settings of a training](settings.md)."]
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """Return the page of all settings of a training, by group, with what each preset changes."""
    starts = {name: preset() for name, preset in PRESETS.items()}
    lines = ["# Settings of a training", "",
             "`mscnn train PRESET --SETTING VALUE`; a YAML file of settings is read by `--config FILE`, where names have "
             "underscores. The command line wins over the file, the file over the preset, the preset over the default. "
             "`mscnn train PRESET --print-config` prints all values. This page is written by the program itself.", "",
             "| preset | what it promises |", "|---|---|"]
    lines += [f"| `{name}` | {cell(preset.__doc__ or '')} |" for name, preset in PRESETS.items()]
    for name, record in config.GROUPS.items():
        lines += ["", f"## {record.__doc__} {{ #{name} }}", "",
                  "| setting | default, and presets | meaning |", "|---|---|---|"]
        for field in dataclasses.fields(record):
            changed = [f"{preset}: {code(start[field.name])}" for preset, start in starts.items() if field.name in start]
            lines.append(f"| `--{option(field.name)}`{{ #{option(field.name)} }}<br>{values(field)} | "
                         f"{'<br>'.join([default(field), *changed])} | {cell(field.metadata['help'])} |")
    return "\n".join(lines) + "\n"


def root_page(name: str, up: str) -> str:
    """Return a file of the checkout's root as a page of the site; its links to docs/ hold there. up: from it to the top."""
    text = (ROOT / name).read_text()
    return re.sub(r"\]\(docs/", f"]({up}/", text)


def find_all() -> dict[str, Any]:
    """Return {name as typed: Command} of all commands, the measurements of `bench` last; workers of theirs left out."""
    modules = {name: module for name, module in cli.find_commands("mscnn.cli").items() if name != "bench"}
    modules |= {f"bench {name}": module for name, module in cli.find_commands("mscnn.cli.bench").items()
                if not name.endswith("-worker")}
    return {name: importlib.import_module(module).COMMAND for name, module in modules.items()}


def is_training(command: Any) -> bool:
    """Return whether a command takes the settings of a training, which have a page of their own."""
    return hasattr(command, "more")


def own_groups(command: Any) -> list[tuple[str, list[dataclasses.Field]]]:
    """Return titles and settings of a command, without those of a training."""
    training = {record.__doc__ for record in config.GROUPS.values()} if is_training(command) else set()
    return [(title, fields) for title, fields in command.groups() if title not in training]


def usage(command: Any) -> str:
    """Return the line of usage, as --help prints it."""
    return str(command.parser(show_all=True).usage or "").removeprefix("usage: ")


def spelled(field: dataclasses.Field) -> str:
    """Return a setting as it is typed: --log-every, or RUN for one without an option."""
    return f"`{field.name.upper()}`" if field.metadata["positional"] else f"`--{option(field.name)}`"


def values(field: dataclasses.Field) -> str:
    """Return the values that a setting takes, in plain words."""
    kind = help_page.without_none(field.type)
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(code(value) for value in typing.get_args(kind))
    if kind in BOUNDS:
        number = "whole number" if settings.plain_type(kind) is int else "number"
        return f"{number}, {BOUNDS[kind]}"
    return {bool: "`true`, `false`", int: "whole number", float: "number", list[str]: "one or more words"}.get(kind, "text")


def default(field: dataclasses.Field) -> str:
    """Return the default of a setting: a value, "none" or "required"."""
    if field.default is REQUIRED:
        return "*required*"
    return "none" if field.default is None else code(field.default)


def code(value: Any) -> str:
    """Return a value in code type, as it is written on the command line."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text}`".replace("|", "\\|")


def cell(text: str) -> str:
    """Return text for a cell of a table: one line, its bars and brackets plain."""
    plain = re.sub(r"(?<!`)\b([A-Z]{2,}=[A-Z]{2,}(?:,[A-Z.]+)*)", r"`\1`", " ".join(text.split()))
    return plain.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
