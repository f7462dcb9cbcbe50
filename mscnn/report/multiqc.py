"""Sections for a MultiQC report, as custom content (*_mqc.json): what `mscnn check` found.   multiqc DIR

A file is a section.  MultiQC merges the rows of files with the same id, so that several runs become one table.
https://docs.seqera.io/multiqc/custom_content describes the format.  Names are escaped, as MultiQC writes them into HTML.
"""

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mscnn.core import files
from mscnn.data.tables.problem_summary import plates_of
from mscnn.data.tables.problems import Problem
from mscnn.data.tables.site_table import SiteTable

CHECK, PLATES, PROBLEMS = "mscnn_check_mqc.json", "mscnn_plates_mqc.json", "mscnn_problems_mqc.json"
OF_CHECK = (CHECK, PLATES, PROBLEMS)
SLASH = "∕"  # U+2215 in names of rows: MultiQC takes what follows the last / for the name
Header = tuple[str, str, dict[str, Any]]  # title, explanation, look
Rows = Mapping[str, Mapping[str, float | str | None]]
COUNT = {"format": "{:,.0f}", "min": 0}
SHARE = {"format": "{:,.1f}", "suffix": " %", "min": 0, "max": 100, "scale": "RdYlGn"}
BAD = COUNT | {"scale": "Reds"}


def write_check(out: Path, source: Path, table: SiteTable | None, problems: Sequence[Problem]) -> None:
    """Write the sections of a check: the screen, its plates, and its problems by kind, each where there are any.

    source: table of the screen; table: None where it could not be read.  Rows of problems are those of table.frame.index.
    """
    screen = {"problems": len(problems)} if table is None else _facts(table) | {"problems": len(problems)}
    write_section(out / CHECK, "Screens", "What the site tables of screens hold (mscnn check).", {
        "fields": ("Fields", "fields of view", COUNT), "plates": ("Plates", "plates", COUNT),
        "wells": ("Wells", "wells with fields", COUNT), "compounds": ("Compounds", "compounds but the control", COUNT),
        "treatments": ("Treatments", "compounds at one concentration, but the control", COUNT),
        "mechanisms": ("Mechanisms", "known mechanisms", COUNT),
        "problems": ("Problems", "problems of the table and its images", BAD)}, {_screen(source): screen})
    if table is not None and len(table):
        write_section(out / PLATES, "Plates", "Fields and wells of each plate, and problems that lie on it.", {
            "fields": ("Fields", "fields of view", COUNT), "wells": ("Wells", "wells with fields", COUNT),
            "compounds": ("Compounds", "compounds but the control", COUNT),
            "controls": ("Control wells", "wells of the control", COUNT),
            "problems": ("Problems", "problems of rows of this plate", BAD)}, _plates(table, source, problems))
    if problems:
        kinds = Counter(problem.kind or "the table cannot be read" for problem in problems)
        write_section(out / PROBLEMS, "Problems of screens", "Problems by kind; problems.csv lists each with its row.", {
            "number": ("Number", "problems of this kind", BAD), "remedy": ("Remedy", "what to do about them", {})},
            {kind.partition("; ")[0]: {"number": number, "remedy": kind.partition("; ")[2]}
             for kind, number in kinds.items()})


def write_section(path: Path, name: str, description: str, headers: Mapping[str, Header],
                  rows: Rows) -> None:
    """Write a section with a table of the columns that any row has, or remove the file where no row has any."""
    data = {html.escape(sample.replace("/", SLASH)): {
        key: html.escape(value) if isinstance(value, str) else value for key, value in row.items() if value is not None}
        for sample, row in rows.items()}
    if not any(data.values()):
        path.unlink(missing_ok=True)
        return
    used = {key for row in data.values() for key in row}
    section = path.name.removesuffix("_mqc.json")
    files.write_json(path, {
        "id": section, "parent_id": "mscnn", "parent_name": "mscnn",
        "parent_description": "Phenotypes of a drug screen by the multi-scale CNN.",
        "section_name": name, "description": description, "plot_type": "table",
        "pconfig": {"id": f"{section}_table", "title": f"mscnn: {name}", "namespace": "mscnn"},
        "headers": {key: {"title": title, "description": text, **look} for key, (title, text, look) in headers.items()
                    if key in used},
        "data": data})


def _screen(source: Path) -> str:
    """Return the name of a screen: the folder of its table, and the table's name without its ending, as MultiQC cuts it."""
    return f"{source.absolute().parent.name}/{source.stem}"


def _facts(table: SiteTable) -> dict[str, int]:
    frame = table.frame
    treated = frame[~table.is_control()]
    return {"fields": len(frame), "plates": frame["plate"].nunique(),
            "wells": len(frame.drop_duplicates(["plate", "well"])), "compounds": treated["compound"].nunique(),
            "treatments": len(treated.drop_duplicates(["compound", "concentration"])),
            "mechanisms": len(table.mechanisms())}


def _plates(table: SiteTable, source: Path, problems: Sequence[Problem]) -> dict[str, dict[str, int]]:
    """Return {plate: counts}; a problem of a row of another table, such as BBBC021's moa.csv, is on no plate."""
    plates = table.frame["plate"]
    wrong = Counter(plates_of(problems, plates, source))
    controls = table.is_control()
    found = {}
    for plate, rows in table.frame.groupby("plate"):
        untreated = controls[(plates == plate).to_numpy()]
        found[str(plate)] = {"fields": len(rows), "wells": rows["well"].nunique(),
                             "compounds": rows["compound"][~untreated].nunique(),
                             "controls": rows["well"][untreated].nunique(), "problems": wrong[str(plate)]}
    return found
