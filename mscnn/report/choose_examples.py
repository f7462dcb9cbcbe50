"""Which fields a gallery shows: wrong ones beside what they should look like, the clearest right ones, and new hits.

    pytest tests/report/test_choose_examples.py

Shapes: T treatments, F features.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.preprocessing import StandardScaler

from mscnn.core import identity
from mscnn.report.run import Kind

COMPOUND, DOSE, MOA, PLATE = (f"Metadata_{name}" for name in ("Compound", "Concentration", "MOA", "Plate"))
WRONG, NEW = 12, 12  # treatments, at most
RIGHT = 2            # treatments of each mechanism, at most


@dataclass(frozen=True)
class Screen:
    """What examples are chosen from: the tables of an evaluation."""

    sites: pd.DataFrame         # all sites: Metadata_*, and features
    scored: np.ndarray          # positions among them of the rows of `fields`
    fields: pd.DataFrame        # predictions of the sites that are scored
    treatments: pd.DataFrame    # predictions of their treatments
    control: str
    ranked: list[str] | None = None  # treatments by `keys`, the best hit first; None: by probability

    def is_control(self) -> np.ndarray:
        """Return which of all sites are untreated."""
        return identity.is_name(self.sites[COMPOUND], self.control).to_numpy()


@dataclass(frozen=True)
class Choice:
    """A field that is shown."""

    row: int             # position among all sites
    kind: Kind
    predicted: str       # mechanism of its treatment; "" where none was predicted
    pair: int | None = None  # place in the list of what it stands beside
    is_attributed: bool = False


def keys(table: pd.DataFrame) -> pd.Series:
    """Return a text for the treatment of each row: the same for the same compound, concentration or none, and mechanism."""
    return table[COMPOUND] + "\0" + table[DOSE].astype(float).map(str).astype("str") + "\0" + table[MOA]


def choose(screen: Screen, attributed: int) -> list[Choice]:
    """Return the fields of a gallery in order: wrong ones, right ones by mechanism, new ones.

    A wrong or new one is followed by those that stand beside it: the nearest treatment of its true mechanism, of the
    mechanism that is predicted, and a control field of its plate; the first right one of a mechanism by the control
    alone.  attributed: fields whose prediction is attributed to channels and scales, taken in turn from wrong, right and
    new ones.
    """
    treatments = screen.treatments.assign(key=keys(screen.treatments)).reset_index(drop=True)
    fields = _Fields(screen, treatments.set_index("key"))
    groups = [[(kind, treatments.loc[place]) for place in places] for kind, places in (
        ("wrong", _wrong(treatments)), ("right", _right(treatments)), ("new", _new(treatments, screen.ranked)))]
    turns = sorted((turn, group, place) for group, members in enumerate(groups)
                   for turn, place in enumerate(_in_turns([row[MOA] for _, row in members])))
    attributed_places = {(group, place) for _, group, place in turns[:attributed]}
    chosen: list[Choice] = []
    for group, members in enumerate(groups):
        for place, (kind, row) in enumerate(members):
            chosen.append(Choice(fields.of(row["key"]), kind, row["Predicted_MOA"], None,
                                 (group, place) in attributed_places and row["Predicted_MOA"] != ""))
            is_first = place == 0 or members[place - 1][1][MOA] != row[MOA]
            if kind != "right" or is_first:
                chosen += fields.beside(row if kind != "right" else None, chosen[-1].row, len(chosen) - 1)
    return chosen


def one_each(screen: Screen) -> list[int]:
    """Return a control field of each plate of the scored fields, and a field of each treatment, hits in their order."""
    treatments = screen.treatments.assign(key=keys(screen.treatments)).reset_index(drop=True)
    place = {name: number for number, name in enumerate(screen.ranked or [])}
    treatments = treatments.iloc[treatments["key"].map(place).argsort(kind="stable")] if place else treatments
    fields = _Fields(screen, treatments.set_index("key"))
    controls = [fields.control_of(str(plate)) for plate in sorted(screen.fields[PLATE].unique())]
    return [row for row in controls if row is not None] + [fields.of(key) for key in treatments["key"]]


def _in_turns(mechanisms: list[str]) -> list[int]:
    """Return places so that each mechanism comes once before any comes twice."""
    seen: dict[str, int] = {}
    turns = []
    for mechanism in mechanisms:
        turns.append(seen.get(mechanism, 0))
        seen[mechanism] = turns[-1] + 1
    return sorted(range(len(mechanisms)), key=lambda place: turns[place])


def _sure(treatments: pd.DataFrame) -> pd.DataFrame:
    """Return the treatments with the probability of their prediction as `sure`, the surest first."""
    sure = [row.get(f"Probability_{row['Predicted_MOA']}", np.nan) for row in treatments.to_dict("records")]
    return treatments.assign(sure=np.array(sure, float)).sort_values("sure", ascending=False, kind="stable")


def _wrong(treatments: pd.DataFrame) -> list[int]:
    """Return the wrong treatments, at most WRONG of them; the surest, which are the worst, first."""
    wrong = treatments[(treatments[MOA] != "") & (treatments["Predicted_MOA"] != treatments[MOA])
                       & (treatments["Predicted_MOA"] != "")]
    return list(_sure(wrong).index[:WRONG])


def _right(treatments: pd.DataFrame) -> list[int]:
    """Return the surest right treatments of each mechanism, spread over compounds and doses."""
    right = _sure(treatments[(treatments[MOA] != "") & (treatments["Predicted_MOA"] == treatments[MOA])])
    return [place for _, group in right.groupby(MOA) for place in spread(group, treatments, RIGHT)]


def spread(candidates: pd.DataFrame, treatments: pd.DataFrame, most: int) -> list[int]:
    """Return the labels of at most so many candidates: in their order each compound once, then doses apart from these.

    treatments: with all doses of the compounds; doses next to each other there are not apart.
    """
    chosen = list(candidates.drop_duplicates(COMPOUND).index[:most])
    for label, row in candidates.drop(index=chosen).iterrows():
        doses = sorted(treatments.loc[treatments[COMPOUND] == row[COMPOUND], DOSE].dropna().unique())
        of_compound = candidates.loc[chosen].loc[lambda found, name=row[COMPOUND]: found[COMPOUND] == name, DOSE]
        is_apart = row[DOSE] in doses and all(
            dose in doses and abs(doses.index(dose) - doses.index(row[DOSE])) > 1 for dose in of_compound)
        if len(chosen) < most and is_apart:
            chosen.append(label)
    return chosen


def _new(treatments: pd.DataFrame, ranked: list[str] | None) -> list[int]:
    """Return the best treatment of each compound that cannot be right or wrong, at most NEW, the best hits first."""
    new = _sure(treatments[(treatments[MOA] == "") | (treatments["Predicted_MOA"] == "")])
    if ranked is not None:
        place = {name: number for number, name in enumerate(ranked)}
        new = new.assign(place=new["key"].map(place)).sort_values("place", kind="stable", na_position="last")
    return list(new.drop_duplicates(COMPOUND).index[:NEW])


class _Fields:
    """Finds fields of treatments, and treatments that are alike."""

    def __init__(self, screen: Screen, treatments: pd.DataFrame):
        """Group the sites. treatments: those that are scored, by key."""
        self.screen, self.treatments = screen, treatments
        self.members = {str(key): rows for key, rows in keys(screen.fields).groupby(keys(screen.fields)).indices.items()}
        self.is_control = screen.is_control()
        treated = screen.sites[~self.is_control]
        self.rows = {str(key): np.flatnonzero(~self.is_control)[rows]
                     for key, rows in keys(treated).groupby(keys(treated)).indices.items()}
        self.all = treated.assign(key=keys(treated)).drop_duplicates("key").set_index("key")[[COMPOUND, DOSE, MOA]]
        features = [name for name in screen.sites if not name.startswith("Metadata_")]
        means_TF = treated[features].groupby(keys(treated)).mean().loc[self.all.index].to_numpy(float)
        scaled_TF = StandardScaler().fit_transform(means_TF) if len(means_TF) else means_TF
        self.unit_TF = scaled_TF / np.maximum(np.linalg.norm(scaled_TF, axis=1, keepdims=True), 1e-12)
        self.predicted = treatments["Predicted_MOA"].to_dict()
        self.controls: dict[str, int | None] = {}

    def of(self, key: str) -> int:
        """Return the field of a treatment whose probability of the prediction is the (lower) median.

        The middle one in the order of the table where nothing was predicted.
        """
        if key not in self.members:
            rows = self.rows[key]
            return int(rows[(len(rows) - 1) // 2])
        rows, name = self.members[key], f"Probability_{self.predicted[key]}"
        if name in self.screen.fields:
            rows = rows[np.argsort(self.screen.fields[name].to_numpy()[rows], kind="stable")]
        return int(self.screen.scored[rows[(len(rows) - 1) // 2]])

    def beside(self, treatment: pd.Series | None, row: int, pair: int) -> list[Choice]:
        """Return what stands beside a field: the control, and of a treatment its true mechanism and the predicted one."""
        chosen = []
        for mechanism in [] if treatment is None else dict.fromkeys([treatment[MOA], treatment["Predicted_MOA"]]):
            key = self._nearest(treatment, mechanism) if mechanism else None
            if key is not None:
                chosen.append(Choice(self.of(key), "nearest right", self.predicted.get(key, ""), pair))
        control = self.control_of(str(self.screen.sites[PLATE].iat[row]))
        return chosen + ([] if control is None else [Choice(control, "control", "", pair)])

    def control_of(self, plate: str) -> int | None:
        """Return the control field of a plate whose features are nearest to the mean of the plate's; None without any."""
        if plate not in self.controls:
            rows = np.flatnonzero(self.is_control & (self.screen.sites[PLATE] == plate).to_numpy())
            features = [name for name in self.screen.sites if not name.startswith("Metadata_")]
            values = self.screen.sites.iloc[rows][features].to_numpy(float)
            distances = np.linalg.norm(values - values.mean(axis=0), axis=1) if len(rows) else []
            self.controls[plate] = int(rows[np.argmin(distances)]) if len(rows) else None
        return self.controls[plate]

    def _nearest(self, treatment: pd.Series, mechanism: str) -> str | None:
        """Return the treatment of a mechanism with the most similar profile (cosine), rightly predicted or not scored.

        Of another compound where there is one.
        """
        own = treatment["key"]
        is_fit = np.array([row == mechanism and self.predicted.get(key, mechanism) == mechanism and key != own
                           for key, row in self.all[MOA].items()], bool)
        is_other = is_fit & (self.all[COMPOUND] != treatment[COMPOUND]).to_numpy()
        is_fit = is_other if is_other.any() else is_fit
        if not is_fit.any():
            return None
        similarity_T = self.unit_TF @ self.unit_TF[self.all.index.get_loc(own)]
        return str(self.all.index[np.where(is_fit, similarity_T, -np.inf).argmax()])
