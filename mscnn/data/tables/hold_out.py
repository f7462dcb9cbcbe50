"""The compounds that --hold-out names."""

import csv
import difflib
import io

from mscnn.core.errors import UsageError


def parse_names(text: str, compounds: list[str]) -> list[str]:
    """Return the compounds in "taxol,ICI-182,780": taxol and ICI-182,780. Which commas belong to names is found by trying.

    "none" and "" hold nothing out.  Raises UsageError naming what is not a compound, with the nearest one.
    """
    if text.strip().lower() in ("none", ""):
        return []
    pieces = [piece.strip() for piece in next(csv.reader(io.StringIO(text), skipinitialspace=True))]
    names = _join_pieces(pieces, set(compounds))
    if names is None:
        parts = {part.strip() for compound in compounds for part in compound.split(",")}
        wrong = [piece for piece in pieces if piece not in parts] or pieces
        near = sorted({match for piece in wrong for match in difflib.get_close_matches(piece, compounds, n=1)})
        raise UsageError(f"hold-out: no compound {', '.join(map(repr, wrong))} with a known mechanism in the table; "
                         + (f"did you mean {'; '.join(near)}?" if near else f"it has {'; '.join(compounds)}"))
    return sorted(set(names))


def _join_pieces(pieces: list[str], compounds: set[str]) -> list[str] | None:
    """Join neighbouring pieces so that each group is a compound, the longest first; None where that is impossible."""
    if not pieces:
        return []
    for end in range(len(pieces), 0, -1):
        name = next((name for comma in (",", ", ") if (name := comma.join(pieces[:end])) in compounds), None)
        if name is not None and (others := _join_pieces(pieces[end:], compounds)) is not None:
            return [name, *others]
    return None
