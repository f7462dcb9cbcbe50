"""How microscopes name their image files, and which microscope named the files of a folder.

Exercised by `pytest tests/data/vendors/test_name_patterns.py`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

NEARLY_ALL = 0.9  # share of a folder's image files that must have names of one microscope
IMAGES = (".tif", ".tiff", ".png")
_END = r"\.(?:ome\.)?(?:tiff?|png)"
_WELL = r"(?P<well>(?:[a-z]|a[a-f])[0-9]{2})"
_GUID = r"_?[\[{(]?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}[\]})]?"
GUID_AT_END = re.compile(rf"{_GUID}(?={_END}$)", re.IGNORECASE)


@dataclass(frozen=True)
class NamePattern:
    """How one microscope names files. The groups of the regex are fields of a plane, as in `file_names.py`."""

    name: str               # for people
    regex: re.Pattern[str]  # of a file's name without its folder
    template: str = ""      # of names that do not tell the well: what a user gives instead, with {wells} for the plate


def _pattern(name: str, regex: str, template: str = "") -> NamePattern:
    return NamePattern(name, re.compile(regex + _END, re.IGNORECASE), template)


# The shortest name of a plate: in P1_A02_s10 the well is A02, and not S10.
_HCS_AI = r"_t(?P<time>[0-9]+)_(?P<well>[a-z][0-9]{2})_s(?P<site>[0-9]+)_w(?P<channel>[0-9]+)_z(?P<z>[0-9]+)"
METAXPRESS = _pattern(
    "MetaXpress", rf"(?!.+{re.sub('P<.*?>', ':', _HCS_AI)}\.)(?:(?P<plate>.+?)_)??{_WELL}(?:_s(?P<site>[0-9]+))?"
    rf"(?:_w(?P<channel>[0-9]+?))?(?:_z(?P<z>[0-9]+))?(?:_t(?P<time>[0-9]+))?(?:{_GUID})?")
PATTERNS = (
    METAXPRESS,
    # well, read step, number of the channel, number in the well, channel, kinetic read; negative steps are processed images
    _pattern("Gen5", r"(?P<well>[a-z]{1,2}[0-9]{1,2})(?P<region>ROI[0-9]+)?_(?P<step>-?[0-9]+)_(?P<order>[0-9]+)_"
             r"(?P<site>[0-9]+)(?:Z(?P<z>[0-9]+))?_(?P<channel>.+)_(?P<time>[0-9]{3,})"),
    _pattern("Cellomics", rf"(?:(?P<plate>.+?)(?:_p[0-9]+_z(?P<z>[0-9]+)_(?P<time>[0-9]+))?_)?{_WELL}"
             r"f(?P<site>[0-9]+)d(?P<channel>[0-9]+)"),
    _pattern("CellVoyager", rf"(?:(?P<plate>.+)_)?{_WELL}_T(?P<time>[0-9]{{4}})F(?P<site>[0-9]{{3,4}})L[0-9]{{2}}"
             r"A[0-9]{2}Z(?P<z>[0-9]{2,3})C(?P<channel>[0-9]{2})"),
    _pattern("CQ1", r"W[0-9]{1,4}F[0-9]{1,4}T[0-9]{1,4}Z[0-9]{1,4}C[0-9]{1,2}",
             "W{{well{wells}}}F{{site}}T{{time}}Z{{z}}C{{channel}}.tif"),
    _pattern("Harmony", r"r(?P<row>[0-9]{2})c(?P<column>[0-9]{2})f(?P<site>[0-9]{2,})p(?P<z>[0-9]{2,})"
             r"-ch(?P<channel>[0-9]+)(?:sk(?P<time>[0-9]+)fk[0-9]+fl[0-9]+)?"),
    _pattern("Harmony", r"r(?P<row>[0-9]{2})c(?P<column>[0-9]{2})f(?P<site>[0-9]{2,})p(?P<z>[0-9]{2,})"
             r"-ch(?P<channel>[0-9]+)t(?P<time>[0-9]+)"),
    _pattern("IN Cell Analyzer", r"(?:(?P<plate>.+?)_)?(?P<row>[a-z]{1,2}) - (?P<column>[0-9]{1,3})\(fld (?P<site>[0-9]+)"
             r"(?: wv (?P<channel>.+?))?(?: z (?P<z>[0-9]+))?(?:[ -]+time (?P<time>[0-9]+)(?: - [0-9.]+ ms)?)?\)"),
    _pattern("ScanR", r"(?P<well>[a-z]{1,2}[0-9]{1,2})--W[0-9]{5}--P(?P<site>[0-9]{5})--Z(?P<z>[0-9]{5})"
             r"--T(?P<time>[0-9]{5})--(?P<channel>.+)"),
    _pattern("ScanR", r"(?:.*[^a-z0-9])?--W[0-9]{5}--P[0-9]{5}--Z[0-9]{5}--T[0-9]{5}--.+",
             "*--W{{well{wells}}}--P{{site}}--Z{{z}}--T{{time}}--{{channel}}.tif"),
    _pattern("HCS.ai", rf"(?P<plate>.+){_HCS_AI}"),
    _pattern("ACQUIFER", r"(?:WE[0-9]+--)?-(?P<well>[a-z][0-9]{3})--PO(?P<site>[0-9]+)--LO(?P<time>[0-9]+)"
             r"--CO(?P<channel>[0-9]+)--SL(?P<z>[0-9]+)--.+"),
)


def fitting_patterns(names: Sequence[str]) -> list[NamePattern]:
    """Return the patterns that nearly all of these names of files have."""
    needed = NEARLY_ALL * len(names)
    return [pattern for pattern in PATTERNS if names and _count(pattern, names) >= needed]


def _count(pattern: NamePattern, names: Sequence[str]) -> int:
    """Return how many names fit a pattern; 0 where a sample shows that it is less than half."""
    sample = names[:: max(len(names) // 100, 1)]
    fits = pattern.regex.fullmatch
    if sum(fits(name) is not None for name in sample) < len(sample) / 2:
        return 0
    return sum(fits(name) is not None for name in names)
