"""A raw map -> a plate map: wells and doses in one spelling, untreated wells named, and faults found."""

import re
from collections import Counter

import numpy as np
import pandas as pd

from mscnn.core import identity
from mscnn.core.words import examples
from mscnn.data.plate_maps.doses import looks_like_dose, read_doses, without_unit
from mscnn.data.plate_maps.plate_map import COLUMNS, PREFIX, PlateMap, RawMap
from mscnn.data.tables.problems import Problem, in_order
from mscnn.data.tables.wells import well_name, well_place

_DOSE_AT_END = re.compile(r"(.*\S)[\s_@;(]+([0-9][0-9.,]*\s*[^\s0-9.,)]+)\)?")


def finish_map(raw: RawMap, source: str, control: str) -> PlateMap:
    """Return the plate map of a raw map. control: the compound of untreated wells, whose concentrations are no doses."""
    frame = raw.frame.copy()
    problems, notes = [*raw.problems], [*raw.notes]
    for role in ("plate", "compound", "mechanism"):
        frame[role] = _given(frame[role], role, control, notes)
    _wells(frame, raw.file, problems)
    is_control = identity.is_name(frame["compound"], control)
    _note_near_control(frame["compound"], control, notes)
    _doses(frame, is_control, raw.file, problems, notes)
    problems += mixed_kinds(frame, raw.file)
    if frame["concentration"].isna().all():
        problems += _doses_in_names(frame["compound"], raw.file)
    frame = _without_repeats(frame, raw.file, problems, notes)
    if count := int((frame["compound"] == "").sum()):
        notes.append(f"{count} wells have no compound: {examples(list(frame['well'][frame['compound'] == '']))}")
    more = [name for name in frame if str(name).startswith(PREFIX)]
    return PlateMap(frame[[*COLUMNS, *more]].reset_index(drop=True), raw.format, source, tuple(notes),
                    tuple(in_order(problems)))


def mixed_kinds(frame: pd.DataFrame, file: str) -> list[Problem]:
    """Return a problem for each compound with doses of more than one kind, or with and without a unit."""
    dosed = frame[(frame["concentration"].notna() & (frame["concentration"] != 0)) & (frame["compound"] != "")]
    units = dosed.groupby(identity.normal_forms(dosed["compound"]))["unit"].unique()
    several = {str(name): sorted(unit or "no unit" for unit in kinds) for name, kinds in units.items() if len(kinds) > 1}
    return [Problem(None, file, f"compound {name!r} has doses in {' and in '.join(kinds)}",
                    "compounds have doses of more than one kind; give each its doses in one")
            for name, kinds in several.items()]


def _given(texts: pd.Series, role: str, control: str, notes: list[str]) -> pd.Series:
    """Return names without blanks around them; "" for what stands for a missing value, as a dash does."""
    texts = texts.str.strip()
    is_none = identity.is_not_known if role == "mechanism" else identity.is_missing
    missing = {text for text in texts.unique() if (is_none(text) or not any(map(str.isalnum, text)))
               and not identity.is_same(text, control)}
    if role != "plate" and (written := sorted(missing - {""})):
        counts = ", ".join(f"{text!r} ({int((texts == text).sum())} wells)" for text in written)
        notes.append(f"{role}s that are not given: {counts}")
    return texts.where(~texts.isin(list(missing)), "")


def _wells(frame: pd.DataFrame, file: str, problems: list[Problem]) -> None:
    """Write each well as A01; add rows without a well, beyond a plate, or without a plate where others have one."""
    places = {well: well_place(well) for well in frame["well"].unique()}
    for row, well in zip(frame.index, frame["well"], strict=True):
        if places[well] is None:
            reason = f"well {well!r} is no place on a plate" if well else "no well"
            problems.append(Problem(row, file, reason, "wells are no place on a plate; write them A01 to AF48"))
    frame["well"] = frame["well"].map({well: well_name(*place) if place else well for well, place in places.items()})
    if (frame["plate"] != "").any():
        problems += [Problem(row, file, "no plate", "wells have no plate, where others have one; fill it in")
                     for row in frame.index[frame["plate"] == ""]]
    for name in frame.select_dtypes(exclude="number"):
        for row in frame.index[frame[name].str.contains("\0", regex=False)]:
            problems.append(Problem(row, file, f"{name} holds a NUL", "names hold a NUL; take it out"))


def _doses(frame: pd.DataFrame, is_control: pd.Series, file: str, problems: list[Problem], notes: list[str]) -> None:
    """Make concentrations numbers, NaN of untreated wells, and their units those that mscnn writes."""
    texts, units = frame["concentration"].str.strip(), frame["unit"].str.strip()
    texts, units = texts.where(frame["compound"] != "", ""), units.map(
        {unit: "" if identity.is_not_known(unit) else unit for unit in units.unique()})
    ignored = is_control & ~texts.map({text: identity.is_not_known(text) for text in texts.unique()}).astype(bool)
    if count := int(ignored.sum()):
        shown = (texts + " " + units)[ignored].str.strip().unique().tolist()
        notes.append(f"{count} untreated wells have a concentration ({examples(shown, 3)}), which is of the solvent and no "
                     "dose: left out")
    doses = read_doses(texts.where(~is_control, ""), units, file)
    frame["concentration"], frame["unit"] = doses.values, doses.units
    problems += doses.problems
    bare = without_unit(doses.values, doses.units)
    if bare.all() or not (doses.units != "").any():
        if count := int(bare.sum()):
            notes.append(f"{count} concentrations have no unit and are kept as they are; name it, as in Concentration (uM)")
        return
    problems += [Problem(row, file, f"concentration {texts.iloc[place]!r} has no unit, where others have one",
                         "concentrations have no unit; write it, as in 10 uM")
                 for place, row in enumerate(frame.index) if bare.iloc[place]]


def _doses_in_names(compounds: pd.Series, file: str) -> list[Problem]:
    """Return a problem for each compound whose name ends with a dose, where another dose of it has a name of its own.

    Each dose would be a compound by itself, and could be on both sides of a split.
    """
    parts = {name: match for name in compounds.unique()
             if (match := _DOSE_AT_END.fullmatch(name)) and looks_like_dose(match[2])}
    stems = Counter(identity.normal_form(match[1]) for match in parts.values())
    return [Problem(None, file, f"compound {name!r} holds a dose",
                    "names of compounds hold doses; give doses a column or a grid of their own")
            for name, match in parts.items() if stems[identity.normal_form(match[1])] > 1]


def _note_near_control(compounds: pd.Series, control: str, notes: list[str]) -> None:
    form = identity.normal_form(control)
    near = [name for name in compounds.unique() if not identity.is_same(name, control)
            and form in identity.normal_form(name)]
    if near:
        notes.append(f"compounds that are not taken for the control {control}: {examples(near)}")


def _without_repeats(frame: pd.DataFrame, file: str, problems: list[Problem], notes: list[str]) -> pd.DataFrame:
    """Return the table with each well once; add wells with different contents to problems."""
    forms = pd.DataFrame({"plate": identity.normal_forms(frame["plate"]), "well": frame["well"]}, frame.index)
    repeated = forms.duplicated(keep=False) & (frame["well"] != "")
    if not repeated.any():
        return frame
    content = frame.drop(columns=["plate", "well"])
    content["compound"] = identity.normal_forms(content["compound"])
    for (_, well), rows in content[repeated.to_numpy()].groupby([forms["plate"][repeated], forms["well"][repeated]]):
        if len(rows.drop_duplicates()) > 1:
            differ = [str(name) for name in rows if rows[name].nunique(dropna=False) > 1]
            reason = f"well {well} is in rows {examples(list(map(str, rows.index)))} with different {examples(differ)}"
            problems.append(Problem(int(rows.index[1]), file, reason,
                                    "wells are there more than once with different contents; keep one row of each"))
    dropped = forms.duplicated() & repeated
    same = int(dropped.sum())
    notes.append(f"{same} rows repeat a well: left out")
    return frame[~np.asarray(dropped)]
