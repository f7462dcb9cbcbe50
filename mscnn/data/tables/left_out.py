"""The fields of a screen that a file of flags left out: what is recorded of them, and told beside each score."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256

from mscnn.core.records import Count, Record

VOCABULARY = ("blurred", "saturated", "debris", "empty", "dim", "bright", "edge")  # names of flags


@dataclass(frozen=True)
class LeftOut(Record):
    """Fields that were left out of a table because of their flags."""

    fields: Count            # how many
    total: Count             # fields of the table before
    flags: dict[str, Count]  # how many have each flag, the most frequent first; a field may have several
    sha256: str              # over the normal forms of plate, well and site of all that were left out
    sites: list[list[str]] = field(default_factory=list)  # plate, well, site of each; empty in a summary

    def __str__(self) -> str:
        return f"{self.fields:,} of {self.total:,} fields left out{listed(self.flags)}"

    def summary(self) -> "LeftOut":
        """Return the record without its sites."""
        return replace(self, sites=[])


def count_flags(flags: Sequence[str]) -> dict[str, int]:
    """Return the number of fields with each flag that any has, the most frequent first.

    flags: of each field, names joined by ";".
    """
    names = [name for text in flags for name in text.split(";") if name]
    return {name: number for name in sorted(VOCABULARY, key=lambda name: -names.count(name))
            if (number := names.count(name))}


def listed(numbers: dict[str, int]) -> str:
    """Return ": 9 blurred, 3 empty"; "" for no flags."""
    return ": " + ", ".join(f"{number:,} {name}" for name, number in numbers.items()) if numbers else ""


def digest(names: Sequence[Sequence[str]]) -> str:
    """Return the SHA-256 of the normal forms of plate, well and site, in any order."""
    return sha256(repr(sorted(map(tuple, names))).encode()).hexdigest()
