"""A table of compounds joined to the wells of a plate map, and what does not join on either side."""

from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product

import numpy as np
import pandas as pd

from mscnn.core import identity
from mscnn.core.errors import DataError
from mscnn.core.words import examples
from mscnn.data.plate_maps.broad_ids import BROAD_IDS, clear_cores, cores
from mscnn.data.plate_maps.compounds import Compounds
from mscnn.data.plate_maps.finish import mixed_kinds
from mscnn.data.plate_maps.plate_map import PREFIX
from mscnn.data.tables.problems import Problem
from mscnn.data.tables.text_csv import plain_name

_MOST_NEAR = 20   # compounds without a row for which a near name is looked for
_CLOSE = 0.8      # of difflib
_Key = tuple[str, str, float, str]  # column, normal form, dose (-1: any) and its unit ("": any)


@dataclass(frozen=True)
class JoinedCompounds:
    """The wells of a map with what a table of compounds knows.

    wells: as given, with the names and mechanisms of the table, and its Metadata_*.
    """

    wells: pd.DataFrame
    lines: tuple[str, ...]          # what did not join, counted, with examples and near names
    problems: tuple[Problem, ...]   # where map and table contradict each other


def join_compounds(wells: pd.DataFrame, compounds: Compounds, *, control: str = "DMSO") -> JoinedCompounds:
    """Return wells with the compounds' names and mechanisms: found by a common identifier, else by name.

    wells: PlateMap.wells, or any table with columns compound, concentration, unit, mechanism and perhaps Metadata_*.
    A compound that is found by its identifier takes the name of the table.  A mechanism with a dose counts at that dose
    alone.  Raises DataError where the table has problems.
    """
    if compounds.problems:
        raise DataError(f"{compounds.source}: the table of compounds has problems; mend them before it is joined",
                        [problem.reason for problem in compounds.problems])
    rows, by_id = _find_rows(wells, compounds)
    by_core = _find_cores(wells, compounds, rows)
    rows, by_id = np.where(by_core >= 0, by_core, rows), by_id | (by_core >= 0)
    table, problems, lines = compounds.table, [], []
    if (by_core >= 0).any():
        names = wells["compound"][by_core >= 0].unique()
        lines.append(f"{len(names)} compounds are joined by the first 13 letters of their identifiers (another salt or "
                     f"batch): {examples(list(names))}")
    found = table.take(np.where(rows >= 0, rows, 0)).reset_index(drop=True).set_axis(wells.index)
    is_found = pd.Series(rows >= 0, wells.index)
    joined = wells.copy()
    named = is_found & pd.Series(by_id, wells.index) & (found["compound"] != "")
    joined["compound"] = joined["compound"].where(~named, found["compound"])
    told = is_found & (found["mechanism"] != "")
    problems += _contradictions(joined, found["mechanism"], told, compounds.source)
    joined["mechanism"] = joined["mechanism"].where(~told | (joined["mechanism"] != ""), found["mechanism"])
    for name in (str(name) for name in table if str(name).startswith(PREFIX)):
        own = joined[name] if name in joined else pd.Series("", wells.index, dtype="str")
        theirs = found[name].where(is_found, "")
        if count := int(((own != "") & (theirs != "") & (own != theirs)).sum()):
            lines.append(f"{count} wells keep the {name.removeprefix(PREFIX)} of the plate map, where the table of "
                         "compounds has another")
        joined[name] = own.where(own != "", theirs).astype("str")
    problems += mixed_kinds(joined, compounds.source)
    lines += _unmatched(wells, joined, is_found, rows, compounds, control)
    return JoinedCompounds(joined, tuple(lines), tuple(problems))


def _find_rows(wells: pd.DataFrame, compounds: Compounds) -> tuple[np.ndarray, np.ndarray]:
    """Return the place in the table of each well's compound, -1 for none, and whether an identifier led there."""
    places = _places(compounds)
    by_plain = {plain_name(name): name for name in compounds.ids}
    own_ids = [(str(name), by_plain[plain_name(str(name))]) for name in wells
               if str(name).startswith(PREFIX) and plain_name(str(name)) in by_plain]
    columns = [*own_ids, ("compound", "compound"), *(("compound", name) for name in compounds.ids)]
    forms = {own: identity.normal_forms(wells[own]) for own, _ in columns}
    keys = pd.DataFrame({**forms, "dose": wells["concentration"].fillna(-1.0), "unit": wells["unit"]})
    answers: dict[tuple, tuple[int, bool]] = {}
    for values in keys.drop_duplicates().itertuples(index=False, name=None):
        form = dict(zip(keys, values, strict=True))
        tries = ((places.get(key), theirs != "compound") for own, theirs in columns if form[own]
                 for key in _dosed(theirs, form[own], form["dose"], form["unit"]))
        answers[values] = next(((place, is_id) for place, is_id in tries if place is not None), (-1, False))
    found = [answers[values] for values in keys.itertuples(index=False, name=None)]
    return np.array([place for place, _ in found], int), np.array([is_id for _, is_id in found], bool)


def _find_cores(wells: pd.DataFrame, compounds: Compounds, rows: np.ndarray) -> np.ndarray:
    """Return the place in the table of each compound without a row that is another salt or batch of one there; else -1."""
    found = np.full(len(wells), -1)
    own = [str(name) for name in wells if name == "compound" or plain_name(str(name)) in BROAD_IDS]
    places = [clear_cores(compounds.table, name) for name in compounds.ids if plain_name(name) in BROAD_IDS]
    for name, known in product(own, places):
        at = cores(wells[name]).map(known).fillna(-1).to_numpy(int)
        found = np.where((found < 0) & (rows < 0), at, found)
    return found


def _places(compounds: Compounds) -> dict[_Key, int]:
    """Return the place of each name and identifier; of rows that say the same, that of the first with a mechanism."""
    table = compounds.table
    doses, units = table["concentration"].fillna(-1.0).tolist(), table["unit"].tolist()
    places: dict[_Key, int] = {}
    order = np.argsort((table["mechanism"] == "").to_numpy(), kind="stable")
    for column in ("compound", *compounds.ids):
        forms = identity.normal_forms(table[column]).to_numpy()
        for place in order:
            if forms[place] and (column, forms[place]) not in compounds.unclear:
                key = (column, forms[place], doses[place], units[place] if doses[place] >= 0 else "")
                places.setdefault(key, int(place))
                if key[2] >= 0:  # a unit that one side does not tell is no difference
                    places.setdefault((column, forms[place], key[2], "any"), int(place))
    return places


def _dosed(column: str, form: str, dose: float, unit: str) -> list[_Key]:
    """Return the keys to look for: at this dose and unit, at this dose where a side tells no unit, at any dose."""
    exact = [(column, form, dose, unit), (column, form, dose, "any" if not unit else "")] if dose >= 0 else []
    return [*exact, (column, form, -1.0, "")]


def _contradictions(wells: pd.DataFrame, mechanisms: pd.Series, told: pd.Series, source: str) -> list[Problem]:
    """Return a problem for each compound whose mechanism in the map is another than in the table."""
    own = wells["mechanism"]
    differ = told & (own != "") & (identity.normal_forms(own) != identity.normal_forms(mechanisms))
    pairs = pd.DataFrame({"compound": wells["compound"], "map": own, "table": mechanisms})[differ].drop_duplicates()
    return [Problem(None, source, f"compound {name!r}: {theirs!r}, where the plate map has {mine!r}",
                    "compounds have another mechanism in the plate map; mend one of the two")
            for name, mine, theirs in pairs.itertuples(index=False)]


def _unmatched(wells: pd.DataFrame, joined: pd.DataFrame, is_found: pd.Series, rows: np.ndarray, compounds: Compounds,
               control: str) -> list[str]:
    """Return lines on compounds without a row, at other doses, without a mechanism, and on rows without wells."""
    lines = []
    treated = (wells["compound"] != "") & ~identity.is_name(joined["compound"], control)
    known = {form for column in ("compound", *compounds.ids) for form in identity.normal_forms(compounds.table[column])}
    absent = list(wells["compound"][treated & ~is_found].unique())
    without = [name for name in absent if identity.normal_form(name) not in known]
    num_all = wells["compound"][treated].nunique()
    if without:
        lines.append(f"{len(without)} of {num_all} compounds are not in the table of compounds, so that their "
                     f"mechanism is not known: {examples(without)}")
        lines += _near(without, compounds)
    if len(absent) > len(without):
        other = [name for name in absent if identity.normal_form(name) in known]
        lines.append(f"{len(other)} of {num_all} compounds have wells at doses that the table of compounds lacks: "
                     f"{examples(other)}")
    blank = list(joined["compound"][treated & is_found & (joined["mechanism"] == "")].unique())
    if blank and (compounds.table["mechanism"] != "").any():
        lines.append(f"{len(blank)} of {joined['compound'][treated].nunique()} compounds have no mechanism in the table of "
                     f"compounds: {examples(blank)}")
    unused = len(compounds.table) - len(set(rows[rows >= 0].tolist()))
    if unused:
        lines.append(f"{unused} of {len(compounds.table)} rows of the table of compounds have no wells")
    return lines


def _near(without: list[str], compounds: Compounds) -> list[str]:
    """Return a line for each compound that the table may have in another spelling."""
    names = {identity.normal_form(name): name for name in compounds.table["compound"] if name}
    lines = []
    for name in without[:_MOST_NEAR]:
        form = identity.normal_form(name)
        others = [other for other in names if abs(len(other) - len(form)) <= len(form) // 3 + 1]
        if near := get_close_matches(form, others, 1, _CLOSE):
            lines.append(f"{name!r} is not in the table of compounds, which has {names[near[0]]!r}")
    return lines
