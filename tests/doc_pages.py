"""Read the documentation as its reader does: fenced blocks, the commands in them, links, anchors and code in prose."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from markdown.extensions.toc import slugify_unicode

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r'^```(\w*)(?: needs="([^"]*)")?[^\n]*\n(.*?)^```$', re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
SPAN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
STOPS = {"|", "||", "&&", ";", "&", ">", ">>", "2>", "<<", "<"}  # end the words of a command in a line of a shell
SBATCH = {"train.sbatch": "train", "train_mpi.sbatch": "train", "loco.sbatch": "train", "evaluate.sbatch": "evaluate"}


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    language: str  # "" where none is given
    needs: str     # what its reader must have to run it, "" for nothing
    text: str


@dataclass(frozen=True)
class Page:
    """A page of Markdown."""

    path: Path
    text: str

    @property
    def name(self) -> str:
        """Return the path from the root of the checkout."""
        return str(self.path.relative_to(ROOT))

    def blocks(self) -> list[Block]:
        """Return the fenced blocks from top to bottom."""
        return [Block(*(part or "" for part in fence)) for fence in FENCE.findall(self.text)]

    def prose(self) -> str:
        """Return the text without its fenced blocks."""
        return FENCE.sub("", self.text)

    def spans(self) -> list[str]:
        """Return the code in prose, without its backticks."""
        return SPAN.findall(self.prose())

    def links(self) -> list[str]:
        """Return the targets of links and pictures."""
        return LINK.findall(SPAN.sub("", self.prose()))

    def anchors(self) -> set[str]:
        """Return the names that a link to this page may end in, #... ."""
        found: set[str] = set()
        for heading in re.findall(r"^#+ (.+)$", self.prose(), re.MULTILINE):
            plain = re.sub(r"[`*_]|\]\([^)]*\)|\[", "", heading)
            found.add(slugify_unicode(plain, "-"))
        return found | set(re.findall(r"\{ ?#([\w-]+)", self.text))


def pages() -> list[Page]:
    """Return README, CONTRIBUTING and the pages of docs/."""
    paths = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [Page(path, path.read_text()) for path in paths]


def lines(text: str) -> list[str]:
    """Return the lines of a shell block, those that end in a backslash joined with the next."""
    return text.replace("\\\n", " ").splitlines()


def command(line: str) -> list[str] | None:
    """Return [command of mscnn, its arguments ...] of a line of a shell; None where another program runs."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    words = list(lexer)
    words = words[:next((place for place, word in enumerate(words) if word in STOPS), len(words))]
    for place, word in enumerate(words):
        name, rest = Path(word).name, words[place + 1:]
        if name in ("mscnn", "mscnn.bench") and words[place - 1] != "import":
            rest = ["bench", *rest] if name == "mscnn.bench" else rest
            return [" ".join(rest[:2]), *rest[2:]] if rest[:1] == ["bench"] and rest[1:] else rest
        if name in ("train.py", "evaluate.py"):
            return [name.removesuffix(".py"), *rest]
        if name in SBATCH and "slurm" in word:
            data = [word.removeprefix("DATA=") for word in words[:place] if word.startswith("DATA=")]
            rest = rest or ["bbbc021"]  # as the scripts' own default
            option = "--data" if SBATCH[name] == "evaluate" else "--bbbc021"
            return [SBATCH[name], *rest, *([option, *data] if data else [])]
    return None
