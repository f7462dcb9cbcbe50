"""Rows of a site table with the treatment of each well, by a plate map and a table of compounds.

Exercised by `pytest tests/data/test_treatments.py`.
"""

from pathlib import Path

import pandas as pd

from mscnn.core import identity
from mscnn.core.errors import DataError
from mscnn.data.plate_maps.compounds import Compounds
from mscnn.data.plate_maps.doses import read_doses
from mscnn.data.plate_maps.join import join_plate_map
from mscnn.data.plate_maps.join_compounds import join_compounds
from mscnn.data.plate_maps.plate_map import PREFIX, PlateMap
from mscnn.data.tables.problems import count, refuse
from mscnn.data.tables.site_table import PUBLIC_NAMES, is_second

UNIT = "Metadata_ConcentrationUnit"
_PLACE = [PUBLIC_NAMES[name] for name in ("plate", "well", "site")]
_COLUMNS = {"compound": PUBLIC_NAMES["compound"], "concentration": PUBLIC_NAMES["concentration"], "unit": UNIT,
            "mechanism": PUBLIC_NAMES["mechanism"]}


def add_treatments(rows: pd.DataFrame, plate_map: PlateMap | None, compounds: Compounds | None, *, control: str,
                   drop_unmapped: bool) -> tuple[pd.DataFrame, list[str]]:
    """Return the rows with compound, concentration, unit, mechanism and what else is known, and lines on what did not join.

    rows: with Metadata_Plate, _Well and _Site; their own Metadata_* count where the map has no such column.
    drop_unmapped: leave out wells that the map lacks, or of which it names no compound; else they are refused.
    Raises DataError listing all faults of the map, then of the table of compounds, then all wells that did not join.
    """
    if plate_map is not None:
        rows, known, lines = _mapped(rows, plate_map, drop_unmapped=drop_unmapped)
    else:
        known, lines = _own(rows), []
    if compounds is not None:
        refuse(compounds.problems, Path(compounds.source))
        with_mechanisms = join_compounds(known, compounds, control=control)
        refuse(with_mechanisms.problems, Path(compounds.source))
        known = with_mechanisms.wells
        lines += [f"compounds   {len(compounds.table):,} rows", *compounds.notes, *with_mechanisms.lines]
    return _together(rows, known), lines + _notes(known, control)


def _mapped(rows: pd.DataFrame, plate_map: PlateMap, *,
            drop_unmapped: bool) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Return the rows whose wells have a compound in the plate map, what it says of each, and lines on the others."""
    refuse(plate_map.problems, Path(plate_map.source))
    joined = join_plate_map(rows[_PLACE[:2]].set_axis(["plate", "well"], axis=1), plate_map)
    known = joined.columns
    lines = [f"plate map   {plate_map.format}, {len(plate_map.wells):,} wells", *plate_map.notes, *joined.lines]
    if joined.unmatched and not drop_unmapped:
        raise DataError(f"{plate_map.source}: {'. '.join(count(joined.unmatched))}, or say --unmapped drop",
                        [problem.line(Path(plate_map.source)) for problem in joined.unmatched])
    has_compound = (known["compound"] != "").to_numpy()
    if not has_compound.any():
        raise DataError(f"{plate_map.source}: not one well of the images is in the plate map; look at the names of plates "
                        "and wells", list(joined.lines))
    if not has_compound.all():
        lines.append(f"{int((~has_compound).sum())} sites of such wells are left out")
    return rows[has_compound].reset_index(drop=True), known[has_compound].reset_index(drop=True), lines


def _notes(known: pd.DataFrame, control: str) -> list[str]:
    """Return a line where compounds have mechanisms, and untreated wells have none."""
    untreated = identity.is_name(known["compound"], control)
    if not (known["mechanism"] != "").any() or not (untreated & (known["mechanism"] == "")).any():
        return []
    return [f"{control} has no mechanism, so untreated wells are not trained on; to make them a class of their own, give "
            f"{control} a mechanism in the table of compounds"]


def _own(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what the rows know of their treatments by themselves."""
    if _COLUMNS["compound"] not in rows:
        raise DataError("the images' index names no compounds; give a plate map with --platemap FILE")
    known = pd.DataFrame({role: rows.get(column, "") for role, column in _COLUMNS.items()})
    doses = read_doses(known["concentration"], known["unit"], "the index of the images")
    refuse(doses.problems, Path("the index of the images"))
    known = known.assign(concentration=doses.values, unit=doses.units)
    return pd.concat([known, rows[[name for name in rows if str(name).startswith(PREFIX)
                                   and name not in (*_PLACE, *_COLUMNS.values())]]], axis=1)


def _together(rows: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """Return plate, well and site, then the treatment, then what else is known, then the images."""
    doses = known["concentration"].map(lambda dose: "" if pd.isna(dose) else f"{dose:.6g}")
    treatment = known.assign(concentration=doses).rename(columns=_COLUMNS)
    for name in (_COLUMNS["concentration"], UNIT, _COLUMNS["mechanism"]):
        if (treatment[name] == "").all():
            treatment = treatment.drop(columns=name)
    more = treatment[[name for name in treatment if name not in _PLACE]]
    return pd.concat([rows[_PLACE], more, rows.drop(columns=[*_PLACE, *(name for name in more if name in rows)])], axis=1)


def plain_columns(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows as a site table is read: no second column of a role, and numbers with a sign as numbers.

    What an index knows besides, such as Metadata_FieldID beside Metadata_Site, is called Metadata_FieldID_other.
    """
    names = [str(name) for name in rows]
    names = [f"{name}_other" if name.startswith(PREFIX) and is_second(name, names) else name for name in names]
    rows = rows.set_axis(names, axis=1)
    for name in (name for name in names if name.startswith(PREFIX) and name not in (*_PLACE, *_COLUMNS.values())):
        texts = rows[name].astype("str")
        numbers = pd.to_numeric(texts.where(texts != ""), errors="coerce")
        if texts.str.startswith(("-", "+")).any() and (texts[numbers.isna()] == "").all():
            rows[name] = numbers  # else a spreadsheet would be kept from computing them
    return rows
