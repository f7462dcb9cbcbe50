"""The compounds that --hold-out names."""

import csv
import difflib
import io

from mscnn.core.errors import UsageError
from mscnn.core.identity import normal_form


def parse_names(text: str, compounds: list[str]) -> list[str]:
    """Return the compounds in "taxol,ICI-182,780": taxol and ICI-182,780. Which commas belong to names is found by trying.

    Names may also stand on lines of their own, and in any spelling; they are returned as the table writes them.
    "none" and "" hold nothing out.  Raises UsageError naming what is not a compound, with the nearest one.
    """
    if normal_form(text) in ("none", ""):
        return []
    lines = csv.reader(io.StringIO(text.strip().replace("\r", "\n")), skipinitialspace=True)
    pieces = [piece.strip() for line in lines for piece in line if piece.strip()]
    names = _join_pieces(pieces, {normal_form(compound): compound for compound in compounds})
    if names is None:
        parts = {normal_form(part) for compound in compounds for part in compound.split(",")}
        wrong = [piece for piece in pieces if normal_form(piece) not in parts] or pieces
        near = sorted({match for piece in wrong for match in difflib.get_close_matches(piece, compounds, n=1)})
        raise UsageError(f"hold-out: no compound {', '.join(map(repr, wrong))} with a known mechanism in the table; "
                         + (f"did you mean {'; '.join(near)}?" if near else f"it has {'; '.join(compounds)}"))
    return sorted(set(names))


def _join_pieces(pieces: list[str], compounds: dict[str, str]) -> list[str] | None:
    """Join neighbouring pieces so that each group is a compound, the longest first; None where that is impossible.

    compounds: by normal form, as the table writes them.
    """
    if not pieces:
        return []
    for end in range(len(pieces), 0, -1):
        form = next((form for comma in (",", ", ") if (form := normal_form(comma.join(pieces[:end]))) in compounds), None)
        if form is not None and (others := _join_pieces(pieces[end:], compounds)) is not None:
            return [compounds[form], *others]
    return None
