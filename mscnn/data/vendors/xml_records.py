"""XML files of microscopes, streamed: the few elements that a reader wants, one by one, without the tree around them.

DTDs and entities are refused.  Exercised by `pytest tests/data/vendors/test_xml_records.py`.
"""

import codecs
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, ParseError

from mscnn.core.errors import DataError, printable

TEXT = ""        # stands for the text of the record itself among the names of its children
CHUNK = 2**16    # bytes that are parsed at a time
DEEPEST = 64     # levels of elements; an index has five
LARGEST = 2**31  # bytes of an index; one of 30,000 planes has 50 MB
_HEAD = 2**12    # bytes in which a file shows its first element
_COMMENT = re.compile(r"<!--.*?(-->|$)", re.DOTALL)
_FIRST = re.compile(r"<(?:[\w.-]+:)?([A-Za-z_][\w.-]*)")


class Record(NamedTuple):
    """One element and its direct children, by names without namespace."""

    name: str                                    # of the element
    namespace: str                               # of the element, "" if it has none
    attributes: dict[str, str]                   # of the element
    values: dict[str, str]                       # text of each child that was asked for
    child_attributes: dict[str, dict[str, str]]  # of these children where they have any


def root_name(path: Path) -> str:
    """Return the name of the first element by the start of a file, without namespace; "" where there is none."""
    try:
        if not path.is_file():  # a pipe would be waited for
            return ""
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return ""
    encoding = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
    found = _FIRST.search(_COMMENT.sub("", head.decode(encoding, "replace")))
    return found[1] if found else ""


def read_records(path: Path, root: str, wanted: Mapping[tuple[str, str], Collection[str]], remedy: str) -> Iterator[Record]:
    """Yield the wanted elements of an XML file as they end.

    wanted: (name of the parent, name) -> the children whose text is asked for, TEXT for that of the element itself; the
    parent of the first element is "".
    Raises DataError for a file whose first element is not named root, that is cut short, or that is not safe to read.
    """
    collector = _Collector(path, root, wanted, remedy)
    parser = DefusedXMLParser(target=collector, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    size = 0
    try:
        if not path.is_file():  # a pipe would be waited for
            raise DataError(f"{path}: is no file; {remedy}")
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                size += len(chunk)
                if size > LARGEST:
                    raise DataError(f"{path}: has more than {LARGEST:,} bytes, no index has; {remedy}")
                parser.feed(chunk)
                yield from collector.take()
        parser.close()
    except DataError:
        raise
    except OSError as problem:
        raise DataError(f"{path}: cannot be read ({problem.strerror}); {remedy}") from None
    except ParseError as problem:
        raise DataError(f"{path}: is cut short or no XML ({printable(str(problem))}); {remedy}") from None
    except DefusedXmlException:
        raise DataError(f"{path}: holds a DTD or entities, which no microscope writes; {remedy}") from None
    except (LookupError, ValueError) as problem:  # of an encoding that is not known
        raise DataError(f"{path}: cannot be read ({printable(str(problem))}); {remedy}") from None
    yield from collector.take()


class _Collector:
    """Collects records from the events of a parser."""

    def __init__(self, path: Path, root: str, wanted: Mapping[tuple[str, str], Collection[str]], remedy: str):
        self.path, self.root, self.wanted, self.remedy = path, root, wanted, remedy
        self.names: dict[str, str] = {}      # {tag: its name without namespace}
        self.above: list[str] = [""]         # names of the elements that are open
        self.open: list[tuple[int, Record, Collection[str]]] = []  # records that are open, with their depth
        self.text: list[str] | None = None   # of the child that is open; None if its text is not asked for
        self.found: list[Record] = []

    def take(self) -> list[Record]:
        """Return the records that have ended since the last call."""
        found, self.found = self.found, []
        return found

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Note the start of an element."""
        name = self.names.get(tag) or self._name(tag)
        depth = len(self.above)
        if depth == 1 and name != self.root:
            raise DataError(f"{self.path}: starts with {printable(name)}, not with {self.root}; {self.remedy}")
        if depth > DEEPEST:
            raise DataError(f"{self.path}: has more than {DEEPEST} levels of elements, no index has; {self.remedy}")
        self.text = None
        if self.open and depth == self.open[-1][0] + 1 and name in self.open[-1][2]:
            self.text = []
            if attributes:
                self.open[-1][1].child_attributes[name] = self._plain(attributes)
        fields = self.wanted.get((self.above[-1], name))
        if fields is not None:
            record = Record(name, tag[1:].partition("}")[0] if tag[0] == "{" else "", self._plain(attributes), {}, {})
            self.open.append((depth, record, fields))
            self.text = [] if TEXT in fields else None
        self.above.append(name)

    def data(self, text: str) -> None:
        """Note a piece of text."""
        if self.text is not None:
            self.text.append(text)

    def end(self, tag: str) -> None:
        """Note the end of an element."""
        name = self.above.pop()
        depth = len(self.above)
        if self.open and depth == self.open[-1][0]:
            record = self.open.pop()[1]
            if self.text is not None:
                record.values[TEXT] = "".join(self.text).strip()
            self.found.append(record)
        elif self.text is not None and self.open:
            self.open[-1][1].values[name] = "".join(self.text).strip()
        self.text = None

    def close(self) -> None:
        """Do nothing: a parser calls this at the end of a file."""

    def _name(self, tag: str) -> str:
        self.names[tag] = tag.rpartition("}")[2]
        return self.names[tag]

    def _plain(self, attributes: dict[str, str]) -> dict[str, str]:
        return {self.names.get(name) or self._name(name): value for name, value in attributes.items()}
