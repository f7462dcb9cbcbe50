import dataclasses

import numpy as np
import pandas as pd
import pytest

from mscnn.core.errors import DataError
from mscnn.profiling.matching import TreatmentCounts
from mscnn.profiling.profile_table import ProfileTable
from mscnn.profiling.treatment_profiles import of_wells, treatments, wells


def profile_table(rows: list[tuple], features: list) -> ProfileTable:
    columns = ["Plate", "Well", "Week", "Compound", "Concentration", "MOA"]
    metadata = pd.DataFrame(rows, columns=[f"Metadata_{name}" for name in columns]).assign(Scored=True)
    return ProfileTable(metadata, np.array(features, float), [f"F{number}" for number in range(len(features[0]))])


# Two fields in B02 of P1, then the treatment's wells on plates and weeks of their own; b; DMSO; one without mechanism.
SCREEN = profile_table(
    [("P1", "B02", "W1", "a", 0.3, "M"), ("P1", "B02", "W1", "a", 0.3, "M"), ("P2", "B02", "W2", "a", 0.3, "M"),
     ("P2", "B03", "W2", "a", 0.3, "M"), ("P1", "B04", "W1", "b", np.nan, "N"), ("P1", "B05", "W1", "dmso", 0.0, "DMSO"),
     ("P2", "B05", "W2", "DMSO", 0.0, "DMSO"), ("P2", "B06", "W2", "c", 1.0, "")],
    [(1, 0), (5, 0), (4, 1), (20, 2), (7, 7), (0, 0), (1, 1), (9, 9)])


def test_treatments_are_medians_of_wells_that_are_means_of_fields():
    found, counted = treatments(SCREEN, "DMSO")
    assert found.frame[["Metadata_Compound", "Metadata_MOA", "Wells"]].to_numpy().tolist() == [["a", "M", 3], ["b", "N", 1]]
    assert found.frame["Batches"].tolist() == [{"W1", "W2"}, {"W1"}]
    assert found.profiles_TF.tolist() == [[4, 1], [7, 7]]  # wells of a: (3, 0), (4, 1), (20, 2)
    assert counted == TreatmentCounts(rows=8, control=2, unlabelled=1, wells=4, features=2)
    means, _ = treatments(SCREEN, "DMSO", well_rule="median", treatment_rule="mean")
    assert means.profiles_TF.tolist() == [[9, 1], [7, 7]]


def test_a_table_without_wells_takes_its_rows_for_them():
    table = dataclasses.replace(SCREEN, metadata=SCREEN.metadata.drop(columns="Metadata_Well"))
    found, _ = treatments(table, "DMSO")
    assert found.profiles_TF.tolist() == [[4.5, 0.5], [7, 7]]
    assert found.frame["Wells"].tolist() == [4, 1]


def test_treatments_that_contradict_themselves_are_named():
    rows = [("P1", "B02", "W1", "a", 0.3, "M"), ("P1", "B03", "W1", "a", 0.3, "N"), ("P1", "B04", "W1", "b", 1.0, "N")]
    with pytest.raises(DataError, match="more than one mechanism") as refusal:
        treatments(profile_table(rows, [(1,), (2,), (3,)]), "DMSO")
    assert refusal.value.details == ["a 0.3: M; N"]


def test_wells_of_the_control_and_of_compounds_without_a_mechanism_are_kept():
    found = wells(SCREEN)
    assert found.metadata["Metadata_Compound"].tolist() == ["DMSO", "a", "a", "a", "b", "c", "dmso"]
    assert found.features_SF.tolist() == [[1, 1], [3, 0], [4, 1], [20, 2], [7, 7], [9, 9], [0, 0]]
    frame, profiles_TF = of_wells(found, "DMSO")
    assert frame["Metadata_Compound"].tolist() == ["a", "b", "c"]
    assert frame["Metadata_MOA"].tolist() == ["M", "N", ""]
    assert frame["Wells"].tolist() == [3, 1, 1]
    assert profiles_TF.tolist() == [[4, 1], [7, 7], [9, 9]]


def test_rows_without_a_compound_are_no_wells():
    assert len(wells(SCREEN.select(SCREEN.metadata.index != 0)).metadata) == 7
    table = dataclasses.replace(SCREEN, metadata=SCREEN.metadata.replace({"Metadata_Compound": {"c": ""}}))
    assert "" not in set(wells(table).metadata["Metadata_Compound"])


def test_rows_that_lack_a_plate_or_a_well_are_wells_of_their_own():
    metadata = SCREEN.metadata.assign(Metadata_Well=["", "", *SCREEN.metadata["Metadata_Well"][2:]])
    found = wells(dataclasses.replace(SCREEN, metadata=metadata))
    assert found.features_SF[found.metadata["Metadata_Compound"] == "a"].tolist() == [[1, 0], [5, 0], [4, 1], [20, 2]]
