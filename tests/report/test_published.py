import pandas as pd
import pytest

from mscnn.report import published


@pytest.mark.parametrize(("compounds", "mechanisms", "expected"), [
    (["taxol", "ALLN"], ["a", "b"], True), (["Taxol", "new"], ["a", ""], True),  # a new compound has no mechanism to match
    (["taxol", "mine"], ["a", "b"], False), (["taxol"], [""], False), ([], [], False)])
def test_values_belong_to_screens_whose_known_compounds_are_those_of_bbbc021(compounds, mechanisms, expected):
    table = pd.DataFrame({"Metadata_Compound": compounds, "Metadata_MOA": mechanisms}, dtype=object)
    assert published.is_bbbc021(table) == expected
