"""Values that others published on BBBC021; a report of another screen does not show them."""

import pandas as pd

from mscnn.core import identity

# NSC / NSCB in per cent, of 1-nearest-neighbour matching over BBBC021's 103 and 92 treatments.
VALUES = (("Ljosa et al. 2013", "factor analysis of CellProfiler features", 94, 77),
          ("Singh et al. 2014", "illumination correction", 90, 85),
          ("Pawlowski et al. 2016", "transferred network", 91, None),
          ("Ando et al. 2017", "transferred network, sphered", 96, 95),
          ("Godinez et al. 2017", "this network, leave one compound out", 93, None),
          ("Caicedo et al. 2018", "weakly supervised", 95, 89),
          ("Janssens et al. 2021", "unsupervised clusters", 97, 85),
          ("Cross-Zamirski et al. 2022", "self-supervised", 98, 96))


# Compounds of BBBC021 whose mechanisms are known (Ljosa et al. 2013).
COMPOUNDS = ("ALLN", "AZ-A", "AZ-C", "AZ-J", "AZ-U", "AZ138", "AZ258", "AZ841", "MG-132", "PD-169316", "PP-2",
             "alsterpaullone", "anisomycin", "bryostatin", "camptothecin", "chlorambucil", "cisplatin", "colchicine",
             "cyclohexamide", "cytochalasin B", "cytochalasin D", "demecolcine", "docetaxel", "emetine", "epothilone B",
             "etoposide", "floxuridine", "lactacystin", "latrunculin B", "methotrexate", "mevinolin/lovastatin",
             "mitomycin C", "mitoxantrone", "nocodazole", "proteasome inhibitor I", "simvastatin", "taxol", "vincristine")


def is_bbbc021(treatments: pd.DataFrame) -> bool:
    """Return whether all compounds of known mechanism are those of BBBC021.

    Mechanisms do not tell: other screens, drawn ones too, give theirs the same names.
    """
    known = treatments["Metadata_Compound"][treatments["Metadata_MOA"] != ""].unique()
    return len(known) > 0 and len(identity.in_common(known, COMPOUNDS)) == len(known)
