"""How many are right, of how many, and what that is worth.

`scores` counts the predictions of a trained classifier; `score` matches profiles of treatments to their nearest
neighbours: NSC, not of the same compound (Ljosa et al., J. Biomol. Screen. 18 (2013) 1321-1329), and NSCB, nor of the
same batch (Ando et al., bioRxiv 161422 (2017)).

Shapes: T treatments, F features, M mechanisms, D draws of labels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics.pairwise import cosine_similarity, euclidean_distances

from mscnn.evaluation.resampling import interval, permutation_test

PROTOCOLS = ("nsc", "nscb", "same_compound_allowed")
TIE = 1e-9  # similarities this close are one: sums in another order differ by less


@dataclass(frozen=True)
class Treatments:
    """What is matched: one compound at one concentration a row, none of them control.

    frame: Metadata_Compound, Metadata_Concentration, Metadata_MOA (none empty), Batches (frozenset of text), Wells, Scored
    (bool: whether it counts; one that does not may be a neighbour);
    profiles_TF: float64, finite.
    """

    frame: pd.DataFrame
    profiles_TF: np.ndarray


def score(treatments: Treatments, *, similarity: str = "cosine", draws: int = 5000, permutations: int = 1000,
          seed: int = 0) -> dict[str, Any]:
    """The three protocols' scores, with intervals and nulls; tables by mechanism and by treatment. As JSON takes it."""
    likeness_TT = similarities(treatments.profiles_TF, similarity)
    frame, found, rows = treatments.frame, {}, _treatment_rows(treatments.frame)
    mechanisms_T, compounds_T = frame["Metadata_MOA"].to_numpy(), frame["Metadata_Compound"].to_numpy()
    counts_T = frame["Scored"].to_numpy()
    homes = frame["Batches"].groupby(compounds_T).agg(lambda own: repr(sorted(frozenset.union(*own))))
    for protocol in PROTOCOLS:
        allowed_TT = ~barred(protocol, compounds_T, frame["Batches"].to_list())
        neighbour_T, tied = match(likeness_TT, allowed_TT)
        right_T, scorable_T = judge(mechanisms_T[None], neighbour_T, allowed_TT)
        right_T, scorable_T = right_T[0] & counts_T, scorable_T[0] & counts_T

        def share_of(labels_DT: np.ndarray, neighbour_T=neighbour_T, allowed_TT=allowed_TT) -> np.ndarray:
            right_DT, scorable_DT = judge(labels_DT, neighbour_T, allowed_TT)
            with np.errstate(invalid="ignore"):
                return (right_DT & counts_T).sum(axis=1) / (scorable_DT & counts_T).sum(axis=1)

        found[protocol] = {
            "correct": int(right_T.sum()), "total": int(scorable_T.sum()),
            "of_all": {"correct": int(right_T.sum()), "total": int(counts_T.sum())},
            "interval": interval(right_T[scorable_T], compounds_T[scorable_T], draws=draws, seed=seed),
            "permuted": {
                "over compounds": permutation_test(share_of, mechanisms_T, compounds_T, draws=permutations, seed=seed),
                "within batches": permutation_test(share_of, mechanisms_T, compounds_T, homes[compounds_T].to_numpy(),
                                                   draws=permutations, seed=seed)},
            "unscorable": [_name(frame, t) for t in np.flatnonzero(~scorable_T & counts_T)],
            "ties": [{"treatment": _name(frame, t), "neighbours": [_name(frame, u) for u in others]}
                     for t, others in tied.items() if counts_T[t] and len(set(mechanisms_T[others])) > 1]}
        for t, row in enumerate(rows):
            u = neighbour_T[t]
            row[protocol] = {"scorable": bool(scorable_T[t]), "right": bool(right_T[t])} | ({} if u < 0 else {
                "predicted": mechanisms_T[u], "neighbour": _name(frame, u), "similarity": float(likeness_TT[t, u])})
    trained = [_name(frame, t) for t in np.flatnonzero(~counts_T)]
    return {**found, "mechanisms": _by_mechanism(rows), "treatments": rows, "trained": trained}


def lines(scores: dict[str, Any], counted: dict[str, int]) -> list[str]:
    """What a console shows of `score`; counted: rows and features, from profiles.treatments."""
    total = scores["nsc"]["of_all"]["total"]
    shown = [f"{counted['rows']} rows, {counted['control']} of control and {counted['unlabelled']} without a mechanism; "
             f"{counted['wells']} wells, {total} treatments, {counted['features']} features"]
    if scores["trained"]:
        shown.append(f"the network was trained on {len(scores['trained'])} more: neighbours only, they do not count")
    for protocol, title in zip(PROTOCOLS, ("NSC   not same compound", "NSCB  nor same batch", "same compound allowed"),
                               strict=True):
        own = scores[protocol]
        share = f"{100 * own['correct'] / own['total']:5.1f}%" if own["total"] else "    -"
        null, low, high = own["permuted"]["over compounds"], own["interval"]["low"], own["interval"]["high"]
        shown.append(f"{title:24} {own['correct']:4d}/{own['total']:<4d} {share}   95 % interval over "
                     f"{own['interval']['compounds']} compounds: {100 * low:.0f} to {100 * high:.0f} %"
                     + ("" if null["p"] is None else f"; permuted labels: {100 * null['mean']:.0f} %, p {null['p']:.2g}"))
        if own["unscorable"]:
            shown.append(f"      {own['correct']}/{total} with {len(own['unscorable'])} unscorable ones counted wrong: "
                         f"{'; '.join(own['unscorable'])}")
        shown += [f"      tie: {tie['treatment']} is equally near to {'; '.join(tie['neighbours'])}" for tie in own["ties"]]
    return shown


def similarities(profiles_TF: np.ndarray, kind: str) -> np.ndarray:
    """(T, T), higher is more alike: "cosine"; "correlation", cosine about each profile's mean; "euclidean", minus it.

    A profile of zeros has cosine 0 with all others.
    """
    if kind == "euclidean":
        return -euclidean_distances(profiles_TF)
    if kind == "correlation":
        profiles_TF = profiles_TF - profiles_TF.mean(axis=1, keepdims=True)
    return cosine_similarity(profiles_TF)


def barred(protocol: str, compounds_T: np.ndarray, batches_T: list[frozenset[str]]) -> np.ndarray:
    """(T, T) bool: who may not be whose neighbour. Batches are sets: sharing one bars.  Nobody is his own neighbour."""
    if protocol == "same_compound_allowed":
        return np.eye(len(compounds_T), dtype=bool)
    barred_TT = compounds_T[:, None] == compounds_T[None]
    if protocol == "nscb":
        barred_TT = barred_TT | [[bool(own & other) for other in batches_T] for own in batches_T]
    return barred_TT


def match(likeness_TT: np.ndarray, allowed_TT: np.ndarray) -> tuple[np.ndarray, dict[int, list[int]]]:
    """Each treatment's nearest permitted neighbour, (T,), -1 without any; {treatment: its equally near ones} of ties.

    Of equally near ones it is the first in the table's order, so that the same table gives the same score.
    """
    likeness_TT = np.where(allowed_TT, likeness_TT, -np.inf)
    best_T = likeness_TT.max(axis=1)
    near_TT = allowed_TT & (likeness_TT >= best_T[:, None] - TIE)
    neighbour_T = np.where(near_TT.any(axis=1), near_TT.argmax(axis=1), -1)
    return neighbour_T, {int(t): np.flatnonzero(near_TT[t]).tolist() for t in np.flatnonzero(near_TT.sum(axis=1) > 1)}


def judge(labels_DT: np.ndarray, neighbour_T: np.ndarray, allowed_TT: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which treatments are right, and which can be at all, (D, T) bool, under each draw of labels.

    Scorable is a treatment with a permitted neighbour of its own mechanism: without one no profile could be right.
    """
    labels_DT = np.unique(labels_DT, return_inverse=True)[1].reshape(np.shape(labels_DT))
    right_DT = (labels_DT == labels_DT[:, neighbour_T]) & (neighbour_T >= 0)
    scorable_DT = np.zeros_like(right_DT)
    for label in range(labels_DT.max() + 1):
        own_DT = labels_DT == label
        scorable_DT |= own_DT & ((own_DT.astype(np.float32) @ allowed_TT.T.astype(np.float32)) > 0)
    return right_DT, scorable_DT


def scores(tables: dict[str, pd.DataFrame], *, draws: int = 5000, permutations: int = 1000,
           seed: int = 0) -> dict[str, dict[str, Any]]:
    """{"fields": {"correct": k, "total": n, "interval": ..., "permuted": ...}, "wells": ..., "treatments", "compounds"}.

    Rows whose mechanism is not known count in neither.  permuted: the true labels permuted over compounds against the
    predictions as they are, so without training again.
    """
    found = {}
    for level, table in tables.items():
        table = table[table["Metadata_MOA"] != ""]
        true_T, compounds_T = (table[name].to_numpy(dtype=str) for name in ("Metadata_MOA", "Metadata_Compound"))
        predicted_T = table["Predicted_MOA"].to_numpy(dtype=str)
        found[level] = {"correct": int((predicted_T == true_T).sum()), "total": len(table)}
        if len(table):
            codes = np.unique(true_T)
            predicted_codes_T = np.where(np.isin(predicted_T, codes), np.searchsorted(codes, predicted_T), -1)
            found[level] |= {
                "interval": interval(predicted_T == true_T, compounds_T, draws=draws, seed=seed),
                "permuted": permutation_test(
                    lambda labels_DT, known_T=predicted_codes_T: (labels_DT == known_T).mean(axis=1),
                    true_T, compounds_T, draws=permutations, seed=seed)}
    return found


def by_compound(fields: pd.DataFrame) -> dict[str, list[int]]:
    """{compound: [right, total]} of the fields whose mechanism is known."""
    fields = fields[fields["Metadata_MOA"] != ""]
    right = (fields["Predicted_MOA"] == fields["Metadata_MOA"]).groupby(fields["Metadata_Compound"]).agg(["sum", "size"])
    return {compound: [int(own["sum"]), int(own["size"])] for compound, own in right.iterrows()}


def by_mechanism(table: pd.DataFrame) -> pd.DataFrame:
    """A row a true mechanism: right, total, and how often it was predicted; of a level's table."""
    table = table[table["Metadata_MOA"] != ""]
    right = (table["Predicted_MOA"] == table["Metadata_MOA"]).groupby(table["Metadata_MOA"]).agg(["sum", "size"])
    right = right.rename(columns={"sum": "correct", "size": "total"}).rename_axis("mechanism")
    return right.assign(predicted=table["Predicted_MOA"].value_counts().reindex(right.index, fill_value=0)).reset_index()


def confusion(table: pd.DataFrame) -> pd.DataFrame:
    """Counts: a row for each true mechanism, a column for each mechanism that is true or predicted somewhere."""
    table = table[table["Metadata_MOA"] != ""]
    true = sorted(set(table["Metadata_MOA"]))
    names = sorted({*true, *table["Predicted_MOA"]})
    counts = pd.crosstab(table["Metadata_MOA"], table["Predicted_MOA"])
    return counts.reindex(index=true, columns=names, fill_value=0)


def _treatment_rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{"compound": row["Metadata_Compound"], "concentration": _number(row["Metadata_Concentration"]),
             "mechanism": row["Metadata_MOA"], "counts": bool(row["Scored"]), "batches": sorted(row["Batches"]),
             "wells": int(row["Wells"])}
            for row in frame.to_dict("records")]


def _by_mechanism(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"mechanism": name, "treatments": len(own), "compounds": len({row["compound"] for row in own}),
             **{protocol: {"correct": sum(row[protocol]["right"] for row in own),
                           "total": sum(row[protocol]["scorable"] for row in own)} for protocol in PROTOCOLS}}
            for name in sorted({row["mechanism"] for row in rows})
            for own in [[row for row in rows if row["mechanism"] == name]]]


def _name(frame: pd.DataFrame, treatment: int) -> str:
    """"taxol 0.3"; the compound alone where no concentration is given."""
    concentration = frame["Metadata_Concentration"].iat[treatment]
    compound = frame["Metadata_Compound"].iat[treatment]
    return compound if np.isnan(concentration) else f"{compound} {concentration:g}"


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
