"""What a plate map is once it is read: a table with one row a well."""

from dataclasses import dataclass

import pandas as pd

from mscnn.data.tables.problems import Problem

TREATMENT = ("compound", "concentration", "unit", "mechanism")  # what a map says of a well
COLUMNS = ("plate", "well", *TREATMENT)
PREFIX = "Metadata_"


@dataclass(frozen=True)
class PlateMap:
    """Which treatment each well has.

    wells: text columns plate ("": for every plate), well (A01), compound, unit, mechanism and Metadata_* ("" where not
    known), and concentration (float of six significant digits, NaN where not given).
    """

    wells: pd.DataFrame
    format: str                         # for people: "well list", "grids of a plate"
    source: str                         # the file or folder, for errors
    notes: tuple[str, ...] = ()         # what was taken for what, and left out, a line each
    problems: tuple[Problem, ...] = ()  # what cannot be used; a map with problems must not be joined


@dataclass(frozen=True)
class RawMap:
    """A map as the text of its file: the columns of PlateMap.wells, concentrations unparsed; the index counts rows."""

    frame: pd.DataFrame
    format: str
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    file: str = ""                      # the file, and its sheet where there are several
