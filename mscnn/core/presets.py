"""Where settings start from: each preset promises a result.  `python train.py --help` lists them."""

from typing import Any


def demo() -> dict[str, Any]:
    """Synthetic plates of 6 mechanisms, the last compound of each held out: 1-4 min on 2 cores, 22-24 of 24 treatments."""
    return {"bbbc021": "demo/plates",
            "hold_out": "actin-c,dna-damage-c,eg5-c,epithelial-c,destabilizer-c,stabilizer-c",
            "epochs": 40, "minibatch": 16, "lr": "0.01;30;0.002;40", "aug_gain": 0.3, "aug_offset": 0.3, "log_every": 34}


def fields256() -> dict[str, Any]:
    """540 real BBBC021 fields of 256x256, 2 of 14 compounds held out: 5 min on 2 cores, 6 of 6 treatments."""
    # AZ258 and emetine: their mechanisms are learnt from other weeks only, so that no batch can pose as biology.
    return {"sites": "../shared/data/bbbc021_fields_256/labels.csv", "channels": "Actin,Tubulin,DNA",
            "hold_out": "AZ258,emetine", **_SMALL_SCREEN, "rotate": 180.0, "aug_zoom": 0.15, "aug_shift": 0.1}


def fields128() -> dict[str, Any]:
    """Train on the same at 128x128, for `mscnn loco`: 1 h on 2 cores, 489 of 540 fields, 44 of 45 treatments."""
    # Statistics as an auxiliary task, and a head that does not favour the training compounds: chosen by inner folds.
    return {"packed": "packs/fields128", "hold_out": "AZ258,emetine", "normalise": "field", "epochs": 40, "minibatch": 16,
            "microbatch": 16, "lr": "0.005;1;0.01;8;0.009;14;0.007;19;0.005;24;0.003;29;0.0015;34;0.0005;40",
            "weight_decay": 1e-4, "clip_norm": 5.0, "class_weights": "balanced", "label_smoothing": 0.1,
            "statistics_weight": 10.0, "ema_decay": 0.98, "tta": "flips-turns", "head": "lda", "rotate": 180.0,
            "aug_zoom": 0.05, "aug_shift": 0.1, "aug_gain": 0.1, "aug_offset": 0.1}


def unlabelled() -> dict[str, Any]:
    """Learn the same fields without a single mechanism, for `mscnn loco`: 10 min on 2 cores for all folds together."""
    # Statistics see all pixels, the network their means over 2x2, for a quarter of its multiplications.
    return {"packed": "packs/fields256", "downscale": 2, "normalise": "field", "transductive": True, **_LABEL_FREE,
            "microbatch": 48}


def bbbc021() -> dict[str, Any]:
    """Train BBBC021 by the 8-node recipe: 13 classes, 1024x1280, global minibatch 256; name the data by --bbbc021 DIR."""
    return {"minibatch": 256, "microbatch": 4, "epochs": 22, "taxol_controls": "keep", "log_every": 1,
            "lr": "0.008;2;0.032;5;0.029;10;0.026;15;0.001;20;0.0001;22"}


def screen() -> dict[str, Any]:
    """Learn any other screen without its mechanisms, then predict them by the best read-out; name it by --sites CSV."""
    return {"split_method": "auto", **_LABEL_FREE, **_BY_SIZE}


def supervised() -> dict[str, Any]:
    """Learn the mechanisms of any other screen; name it by --sites CSV."""
    return {"split_method": "auto", **_SMALL_SCREEN, **_BY_SIZE}


_BY_SIZE = {"epochs": 0, "minibatch": 0}  # from the number of training fields
_SMALL_SCREEN = {"epochs": 30, "minibatch": 32, "lr": "0.01;20;0.003;26;0.001;30", "class_weights": "balanced",
                 "label_smoothing": 0.1, "aug_gain": 0.2, "aug_offset": 0.2}
# Replicates of a treatment alike, and statistics of pixels: chosen on the 540 fields by retrieval across compounds.
_LABEL_FREE = {"mechanism_weight": 0.0, "replicate_weight": 1.0, "statistics_weight": 10.0, "pooling": "mean-max",
               "epochs": 80, "minibatch": 48,
               "lr": "0.006;2;0.015;5;0.0195;16;0.0165;28;0.012;40;0.0082;49;0.005;59;0.003;68;0.0015;80",
               "weight_decay": 1e-4, "clip_norm": 5.0, "ema_decay": 0.98, "tta": "flips-turns", "head": "chosen",
               "rotate": 180.0, "aug_zoom": 0.1, "aug_shift": 0.05, "aug_gain": 0.2, "aug_offset": 0.15}
PRESETS = {"demo": demo, "fields256": fields256, "fields128": fields128, "unlabelled": unlabelled,
           "bbbc021": bbbc021, "screen": screen, "supervised": supervised}
