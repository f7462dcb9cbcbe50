"""A user's template of file names, as `{plate}/{well}_s{site}_w{channel}.tif`, as a regular expression.

Exercised by `pytest tests/data/vendors/test_name_template.py`.
"""

import difflib
import re

from mscnn.core.errors import UsageError

PLATES = {6: (2, 3), 12: (3, 4), 24: (4, 6), 48: (6, 8), 96: (8, 12), 384: (16, 24), 1536: (32, 48)}  # rows, columns
MOST_WILD = 8  # of the parts that match anything: each multiplies the ways to match a name
EXAMPLE = "--pattern '{plate}/{well}_s{site}_w{channel}.tif'"
_TEXT, _NUMBER = r"(?:[0-9]+(?![0-9])|[^/]+?)", r"[0-9]+"
_FIELDS = {"plate": r"[^/]+", "well": r"(?:[a-z]{1,2} ?[-_:,.]? ?[0-9]{1,3}|r[0-9]{1,2} ?[-_]? ?c[0-9]{1,3})",
           "row": r"(?:[a-z]{1,2}|[0-9]{1,2})", "column": r"[0-9]{1,3}", "site": _TEXT, "channel": _TEXT, "z": _NUMBER,
           "time": _NUMBER, **{f"well{wells}": _NUMBER for wells in PLATES}}
_NAMED = ("plate", "well", "row", "column", "site", "channel", "z", "time", "well96", "*")  # shown to people
_PARTS = re.compile(r"\{([^{}]*)\}|(\*\*/)|(\*+)|([{}])|([^{}*]+)")


def compile_template(template: str) -> re.Pattern[str]:
    """Return the regex of a template: of paths below the folder where the template has a `/`, of names of files where not.

    Raises UsageError for an unknown field, a brace that has no partner, or a template that does not tell the well.
    """
    text = template.strip().replace("\\", "/").removeprefix("./")
    seen: list[str] = []
    regex, num_wild = "", 0
    for field, folders, wild, brace, literal in _PARTS.findall(text):
        if brace:
            raise UsageError(f"--pattern {template}: the brace {brace} has no partner; write fields like {{well}}")
        if literal:
            regex += re.escape(literal)
        elif folders or wild or field == "*":
            regex, num_wild = regex + ("(?:.*/)?" if folders else "[^/]*"), num_wild + 1
        elif field in seen:
            regex += f"(?P={field})"
        else:
            regex += f"(?P<{field}>{_field(field, template)})"
            seen.append(field)
    _check(template, seen, num_wild)
    return re.compile(regex, re.IGNORECASE)


def place_of_number(number: int, wells: int) -> tuple[int, int] | None:
    """Return row and column from 0 of a well that is counted from 1 along rows; None beyond a plate of so many wells."""
    return divmod(number - 1, PLATES[wells][1]) if 1 <= number <= wells else None


def _field(field: str, template: str) -> str:
    """Return the regex of a field. Raises UsageError for an unknown one."""
    if field in _FIELDS:
        return _FIELDS[field]
    near = difflib.get_close_matches(field, _FIELDS, n=1)
    meant = f"did you mean {{{near[0]}}}? " if near else ""
    known = " ".join(f"{{{name}}}" for name in _NAMED)
    raise UsageError(f"--pattern {template}: there is no field {{{field}}}; {meant}the fields are {known}")


def _check(template: str, fields: list[str], num_wild: int) -> None:
    ways = [field for field in fields if field.startswith("well")] + (["row"] if {"row", "column"} <= {*fields} else [])
    if len(ways) != 1 or (("row" in fields) != ("column" in fields)):
        raise UsageError(f"--pattern {template}: must tell the well once, by {{well}}, or by {{row}} and {{column}}; "
                         f"for example {EXAMPLE}")
    if num_wild > MOST_WILD:
        raise UsageError(f"--pattern {template}: has {num_wild} times *, at most {MOST_WILD} are allowed; "
                         "write the letters that all names have")
