"""Untreated wells: whether a screen has those of the control compound, and which others look like untreated wells."""

import difflib
import re

from mscnn.core import identity
from mscnn.core.errors import UsageError
from mscnn.data.tables.site_table import SiteTable

# Words in the names that screens give to untreated wells.
_WORDS = {
    "dmso", "vehicle", "veh", "control", "controls", "ctrl", "ctl", "negcon", "negctrl", "negative", "neg", "untreated",
    "nontreated", "mock", "blank", "solvent", "carrier", "water", "h2o", "pbs", "medium", "media", "empty", "none",
    "saline", "methanol", "ethanol", "etoh", "sulfoxide", "sulphoxide", "dimethylsulfoxide", "dimethylsulphoxide"}
DEFAULT = "DMSO"  # of --control: a screen without it may have no untreated wells
_NEAR = 0.7  # ratio of difflib from which on a name may be a misspelt control: DSMO and DMSO have 0.75


def look_alikes(table: SiteTable) -> list[str]:
    """Return the compounds, other than the control, whose name or mechanism reads like that of untreated wells."""
    pairs = table.frame.loc[~table.is_control(), ["compound", "mechanism"]].drop_duplicates()
    return sorted({compound for compound, mechanism in zip(pairs["compound"], pairs["mechanism"], strict=True)
                   if _is_like(compound, table.control) or _is_like(mechanism, table.control)})


def note_absence(table: SiteTable) -> str:
    """Return a warning where there are no wells of the control, naming what looks like them; "" where there are some."""
    if _is_none(table.control) or table.is_control().any() or not len(table):
        return ""
    if names := look_alikes(table):
        return (f"no well of {table.control}, the control: {'; '.join(names[:8])} would count as treated; name the "
                "untreated wells with --control COMPOUND, or say --control none if there are none")
    return (f"no well of {table.control}: the screen seems to have no untreated wells; name their compound with "
            f"--control, or say --control none if there are none (the most frequent compound is "
            f"{table.frame['compound'].mode()[0]})")


def require_control(table: SiteTable) -> None:
    """Raise UsageError where the control is nowhere, and others look like it or it is not the one that is the default.

    Untreated wells would count as a compound.
    """
    note = note_absence(table)
    if note and (look_alikes(table) or not identity.is_same(table.control, DEFAULT)):
        raise UsageError(note)


def _is_none(control: str) -> bool:
    return identity.normal_form(control) in ("none", "")


def _is_like(name: str, control: str) -> bool:
    form, of_control = identity.normal_form(name), identity.normal_form(control)
    words = re.split(r"[^a-z0-9]+|(?<=[a-z])(?=[0-9])", form)
    is_known = bool(_WORDS & {*words, form.replace(" ", "")})
    return is_known or difflib.SequenceMatcher(None, form, of_control).ratio() >= _NEAR
