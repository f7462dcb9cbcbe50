"""Which column of a table is what: the well, the compound, its concentration, ..."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mscnn.core.errors import DataError, printable
from mscnn.core.words import examples
from mscnn.data.plate_maps.plate_map import PREFIX
from mscnn.data.plate_maps.units import split_unit
from mscnn.data.tables.text_csv import plain_name

IDS = ("broadsample", "broadid", "compoundid", "cpdid", "drugid", "substanceid", "pertid", "treatmentid", "inchikey",
       "jcp2022", "sampleid", "catalognumber")
# Names by `plain_name`. A group counts only where the table has none of the groups before it.
SPELLINGS: dict[str, tuple[tuple[str, ...], ...]] = {
    "plate": (("plate", "plateid", "platename", "platebarcode", "assayplatebarcode", "assayplate"), ("barcode",),
              ("destinationplate", "destinationplatename", "destinationplatebarcode", "destplate", "destplatename",
               "destplatebarcode")),
    "well": (("well", "wellid", "wellname", "wellposition", "wellpos", "wellcoordinate"),
             ("destinationwell", "destwell", "dispensedwell")),  # of pick lists and reports of dispensers
    "row": (("row", "rowid", "rowname", "rowletter", "rowindex", "wellrow", "platerow"), ("dispensedrow",)),
    "column": (("column", "col", "columnid", "colid", "columnnumber", "columnindex", "wellcolumn", "wellcol",
                "platecolumn"), ("dispensedcol",)),
    "compound": (("compound", "compoundname", "drug", "drugname", "treatment", "treatmentname", "substance",
                  "substancename", "pertiname", "chemicalname", "cmpd", "cmpdname"),
                 ("pertname", "perturbation", "perturbationname", "fluidname"), ("name", "samplename"), IDS),
    "concentration": (("concentration", "conc", "dose", "dosage", "finalconcentration", "finalconc", "finaldose",
                       "compoundconcentration", "concentrationvalue", "dosevalue", "drugconcentration", "compounddose",
                       "drugdose", "pertdose", "cmpdconc", "dispensedconc", "dispensedconcentration"),),
    "unit": (("unit", "units", "concentrationunit", "concentrationunits", "concunit", "concunits", "doseunit",
              "doseunits", "compoundunit", "compoundunits", "compoundconcentrationunit", "compoundconcentrationunits",
              "finalconcentrationunit", "finalconcentrationunits"),),
    "mechanism": (("moa", "mechanism", "mechanismofaction", "compoundmoa", "compoundmechanism"), ("target",)),
}
_SITE_TABLE = ("site", "field", "fieldid", "file", "filename", "path", "image", "index")  # names that mean more there
_CHOOSE = "choose with --columns ROLE=COLUMN"


@dataclass(frozen=True)
class Roles:
    """The place of each column from 0."""

    place: dict[str, int]                   # of each role that has one column
    doses: tuple[tuple[int, str], ...]      # columns of concentrations, the first before the others, with their units
    metadata: dict[str, int]                # {Metadata_<Name>: place} of all others
    is_id: bool                             # the compound is told by an identifier, such as broad_sample
    notes: tuple[str, ...]


def names_of(role: str) -> frozenset[str]:
    """Return all recognised names of a role."""
    return frozenset(name for group in SPELLINGS[role] for name in group)


def role_of(name: str) -> tuple[str, str]:
    """Return the role of a column or title, "" for none, and the unit that it names."""
    bare, unit = split_unit(name)
    plain = plain_name(bare)
    role = next((role for role in SPELLINGS if plain in names_of(role)), "")
    return role, unit if role == "concentration" else ""


def has_wells(header: Sequence[str], given: dict[str, str]) -> bool:
    """Return whether a row of cells names a column of wells, or columns of rows and of columns."""
    found = {role_of(cell)[0] for cell in header} | {role for role, column in given.items() if column in header}
    return "well" in found or {"row", "column"} <= found


def find_roles(header: Sequence[str], given: dict[str, str], source: str, choose: str = _CHOOSE) -> Roles:
    """Return what each column of a header is: as given, else by its name.

    Raises DataError listing columns that are given and not there, that are there twice, or that could be the same role.
    """
    wrong = [f"{role}={column}: no such column" for role, column in given.items() if column not in header]
    wrong += [f"{role}: no such role; roles are {', '.join(SPELLINGS)}" for role in given if role not in SPELLINGS]
    wrong += [f"column {printable(name)} is there {header.count(name)} times" for name in dict.fromkeys(header)
              if name and header.count(name) > 1]
    if wrong:
        named = examples([name for name in header if name], 12)
        raise DataError(f"{source}: the columns {named} cannot be used; mend the header, or {choose}", wrong)
    place = {role: header.index(column) for role, column in given.items()}
    is_id, ambiguous, notes = False, [], []
    for role, groups in SPELLINGS.items():
        if role in given or role == "concentration":
            continue
        matches, group = _matches(header, groups, set(place.values()))
        if not matches:
            continue
        if len(matches) > 1 and group is not IDS:
            ambiguous.append(f"{role}: {examples([header[number] for number in matches])}")
        place[role] = matches[0]
        is_id |= group is IDS
        if group is not groups[0] and role != "compound":
            notes.append(f"the {role} is taken from column {header[place[role]]}")
    doses = _doses(header, given, place)
    if len(doses) > 1 and not {plain_name(header[number]) for number, _ in doses} <= {"mmolesperliter", "mgperml"}:
        ambiguous.append(f"concentration: {examples([header[number] for number, _ in doses])}")
    if logarithms := [header[number] for number, _ in doses if re.match(r"\W*(log|ln)", plain_name(header[number]))]:
        raise DataError(f"{source}: column {examples(logarithms)} holds logarithms; give the concentrations, as 0.3 uM")
    if ambiguous:
        raise DataError(f"{source}: more than one column could be meant; {choose}", ambiguous)
    used = {*place.values(), *(number for number, _ in doses[:1])} - ({place["compound"]} if is_id else set())
    others = [number for number, name in enumerate(header) if name and number not in used]
    metadata = {metadata_name(header[number]): number for number in others}
    if len(metadata) < len(others):
        named = examples([header[number] for number in others], 12)
        raise DataError(f"{source}: some of the columns {named} differ by the prefix {PREFIX} alone; rename one of them")
    return Roles(place, tuple(doses), metadata, is_id, tuple(notes))


def metadata_name(column: str) -> str:
    """Return the name of any other column: gene -> Metadata_gene; dose -> Metadata_dose_other, as it is not the dose."""
    bare = column.removeprefix("Image_").removeprefix(PREFIX)
    name, unit = split_unit(column)
    plain = plain_name(bare if unit == column.strip() else name)
    is_taken = plain in _SITE_TABLE or any(plain in names_of(role) - set(IDS) for role in SPELLINGS)
    return f"{PREFIX}{bare}{'_other' if is_taken else ''}"


def resemble_doses(header: Sequence[str]) -> list[str]:
    """Return the columns that may be concentrations by their names, though these are not recognised."""
    return [name for name in header if name and re.search(r"conc|dose|dosage|molar", name, re.IGNORECASE)
            and not role_of(name)[0] and not re.search("unit", name, re.IGNORECASE)]


def _matches(header: Sequence[str], groups: tuple[tuple[str, ...], ...],
             taken: set[int]) -> tuple[list[int], tuple[str, ...]]:
    """Return the columns of the first group that a header has some of, in the order of the group, and the group."""
    plain = {number: plain_name(split_unit(name)[0]) for number, name in enumerate(header) if number not in taken}
    for group in groups:
        if found := sorted((number for number, name in plain.items() if name in group),
                           key=lambda number: (group.index(plain[number]), number)):
            return found, group
    return [], ()


def _doses(header: Sequence[str], given: dict[str, str], place: dict[str, int]) -> list[tuple[int, str]]:
    """Return the columns of concentrations with their units; of Broad's two the molar one comes first."""
    if "concentration" in given:
        number = header.index(given["concentration"])
        return [(number, split_unit(header[number])[1])]
    found = [(number, role_of(name)[1]) for number, name in enumerate(header)
             if number not in place.values() and role_of(name)[0] == "concentration"]
    return sorted(found, key=lambda pair: plain_name(header[pair[0]]) == "mgperml")
