"""What --split-method auto holds out: compounds where that is possible, else wells, else nothing; and why.

    python -m pytest tests/data/tables/test_auto_split.py
"""

from dataclasses import replace

import numpy as np

from mscnn.core import identity
from mscnn.data.tables import splits
from mscnn.data.tables.folds import grouped_folds, pick, treated_compounds
from mscnn.data.tables.held_out_wells import CONTROL, choose, wells
from mscnn.data.tables.sides import Split
from mscnn.data.tables.site_table import SiteTable

SHARE = 0.2    # of the wells that are held out
FEW = 5        # compounds of a single mechanism: with fewer, those that are held out say little of others


def auto_split(table: SiteTable, *, hold_out: str | None = None, folds: int = 5, fold: int = 0,
               hold_out_controls: float = 0.0, seed: int = 0, within: np.ndarray | None = None, needs_labels: bool = True,
               sees_all: bool = False) -> Split:
    """Return the split of a table by the rules below; `chosen` says which and why.  Arguments and errors as of make_split.

    Named compounds are held out.  Otherwise compounds are, in groups, with a fifth of the control wells, if the treated
    wells have two mechanisms or more, or FEW compounds.  Compounds that are alone of their mechanism are all trained on.
    Where no mechanism has two compounds, or a single mechanism has fewer than FEW, a fifth of the wells is held out.
    hold_out: names, "none" for nothing, None for the rules.  sees_all: a label-free network learns the images of all
    compounds, and read-outs over compounds predict each without itself: nothing is held out.
    """
    if within is not None:
        inner = auto_split(table.select(within), hold_out=hold_out, folds=folds, fold=fold, seed=seed,
                           hold_out_controls=hold_out_controls, needs_labels=needs_labels, sees_all=sees_all)
        return splits.expanded(inner, table, within, needs_labels=needs_labels)
    if hold_out is not None:
        made = splits.make_split(table, split="hold-out", hold_out=hold_out, hold_out_controls=hold_out_controls, fold=fold,
                                 seed=seed, needs_labels=needs_labels)
        return replace(made, chosen="hold-out: --hold-out says which")
    if sees_all:
        return _nothing(table, needs_labels, "the label-free network learns the images of all compounds (--transductive), "
                                             "and each is predicted by a read-out that is fitted without it")
    compounds = _with_partners(table)
    num_classes = len(set(wells(table.labelled()).class_W) - {""})
    if num_classes < 2:
        return _nothing(table, needs_labels, f"known mechanisms, that of the control counted: {num_classes}; a "
                                             "prediction needs two")
    mechanisms = set(table.frame["mechanism"][~table.is_control()]) - {""}
    if compounds and (len(mechanisms) > 1 or len(compounds) >= FEW or table.assays is not None):
        return _by_compounds(table, compounds, min(folds, len(compounds)), fold, hold_out_controls or SHARE, seed,
                             needs_labels)
    if not choose(table, SHARE, seed=seed, turn=fold).any():
        return _nothing(table, needs_labels, "no class has two wells")
    why = (f"a single mechanism, of {len(treated_compounds(table.labelled()))} compounds, too few to hold some out"
           if len(mechanisms) == 1 else "no mechanism has two compounds")
    made = splits.make_split(table, split="wells", test_fraction=SHARE, fold=fold, seed=seed, needs_labels=needs_labels)
    return replace(made, chosen=f"wells, a fifth of those of each class on each plate: {why}")


def _by_compounds(table: SiteTable, compounds: list[str], folds: int, fold: int, controls: float, seed: int,
                  needs_labels: bool) -> Split:
    """Hold out a group of compounds, and control wells where the control is a class."""
    is_class = CONTROL in wells(table.labelled()).class_W and table.assays is None
    among = table.select(np.isin(table.frame["compound"], compounds))
    group = pick(grouped_folds(among, folds, seed), fold, "k-fold")
    made = splits.of_compounds(table, "k-fold", group, fold=fold, seed=seed,
                               hold_out_controls=controls if is_class else 0.0, needs_labels=needs_labels)
    what = f"k-fold by compound, fold {fold} of {folds}"
    why = (f"{len(compounds)} compounds are not alone of their mechanism" if table.assays is None else
           f"{len(compounds)} compounds are measured")
    more = (f", and {controls:.0%} of the control wells of each plate" if made.wells else
            "" if table.assays is not None else ", no control wells: the control is no class here")
    return replace(made, chosen=f"{what}{more}: {why}")


def _nothing(table: SiteTable, needs_labels: bool, why: str) -> Split:
    made = splits.make_split(table, split="hold-out", hold_out="none", needs_labels=needs_labels)
    return replace(made, chosen=f"hold-out of nothing: {why}")


def _with_partners(table: SiteTable) -> list[str]:
    """Return the labelled compounds that share their mechanism with another; of assays all that are measured."""
    labelled = table.labelled()
    compounds = treated_compounds(labelled)
    if table.assays is not None:
        return compounds
    frame = labelled.frame[~labelled.is_control()]
    forms = identity.normal_table(frame, {"compound": "compound", "mechanism": "mechanism"})
    sizes = forms.groupby("mechanism")["compound"].nunique()
    kept = set(forms["compound"][forms["mechanism"].map(sizes) > 1])
    return [name for name in compounds if identity.normal_form(name) in kept]
