"""The cases of same.py: short runs of the program, and what is compared of their files.   make same BEFORE=REVISION

A case is a function of `run`, which runs a command.  It returns {item: value}: numbers, text, bytes, tensors, tables, or
lists and dicts of them.  Left out: times, hosts, absolute paths, versions, the wording of notes, pictures.
"""

import json
import math
import os
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tifffile
import torch
import yaml
from safetensors.torch import load_file
from scipy.ndimage import gaussian_filter

Run = Callable[..., str]  # run(*words, ranks=1, ends=0) -> what the command printed; ends: the exit code that is right
Items = dict[str, Any]

# ---- How this revision spells it.  A change that renames options, keys or the checkpoint's content adapts this part alone.
# ---- The items' names and values stay: by them revisions are compared.

# Settings and keys of JSON files: {as this revision has them: as the items have them}; the same of a setting's values.
NAMES: dict[str, str] = {}
VALUES: dict[str, dict[str, str]] = {}
TIMES = ("images_per_second", "data_wait")  # in metrics.jsonl
COLOURED = ("--aug-gain", 0.3, "--aug-offset", 0.3)
RESAMPLED = ("--rotate", 180, "--aug-zoom", 0.15, "--aug-shift", 0.1)
EMA, AUXILIARY, EVAL_EVERY = ("--ema-decay", 0.9), ("--statistics-weight", 10), ("--eval-every", 1)
LDA_OF_ALL_VIEWS = ("--head", "lda", "--tta", "flips-turns")


def checkpoint_of(run_dir: Path) -> Items:
    """Read the newest checkpoint of a run, by the program's own reader."""
    from mscnn.training import checkpoint  # here: that of the checkout in the working directory

    _, saved = checkpoint.read(run_dir)
    scale, resume = saved.scale, saved.resume
    weights, momentum, ema = resume.loss_module, resume.optimiser["state"], resume.ema or {}
    plates = scale.facts if scale.facts["mode"] == "plate" else {}
    arrays = {name: torch.from_numpy(array) for name, array in scale.arrays.items()}
    return {
        **{name: getattr(saved, name) for name in ("step", "classes", "channels", "image_size", "network")},
        "steps": saved.total_steps,
        "weights": {name.removeprefix("network."): weights[name] for name in weights if name.startswith("network.")},
        "auxiliary": [weights[name] for name in weights if not name.startswith("network.")],
        "momentum": [momentum[number]["momentum_buffer"] for number in sorted(momentum)],
        "learning_rates": [group["lr"] for group in resume.optimiser["param_groups"]],
        "ema": ema.get("shadow"), "ema_steps": ema.get("steps"), "random": resume.rng_state,
        "epoch_losses": resume.epoch_losses, "recent_losses": resume.recent_losses,
        "best": math.inf if resume.best_epoch_mean is None else resume.best_epoch_mean,
        "skipped": resume.nonfinite_steps, "is_best": resume.is_best, "has_lda_head": resume.has_lda_head,
        "scale": {name: scale.facts.get(name) for name in ("mode", "mean", "sd")},
        "plate_scale": [arrays or None, *(plates.get(name) for name in ("plates", "size", "offset")),
                        *(plates.get("provenance", {}).get(name) for name in ("degree", "level"))],
        "split": {name: own for name, own in vars(saved.split).items() if name != "leaks"}}


def spelled_alike(value: Any) -> Any:
    """Rename keys and values of settings, or of JSON, to those of the items."""
    if isinstance(value, dict):
        renamed = {NAMES.get(key, key): spelled_alike(own) for key, own in value.items()}
        return {key: VALUES[key].get(own, own) if key in VALUES else own for key, own in renamed.items()}
    return [spelled_alike(own) for own in value] if isinstance(value, list) else value


# ---- The cases, in order: a case may use files of those before it.  The working directory is an empty folder.

DEMO = ("demo", "--bbbc021", "plates", "--minibatch", 5, "--microbatch", 2, *COLOURED)
PATIENT = ("--threads", 1, "--join-timeout", 300)  # busy cores keep ranks waiting for each other
HOLD_OUT = ("--hold-out", "actin-b,actin-c,dna-damage-c")
TWO_FOLDS = ("--hold-out", "none", "--split-method", "k-fold", "--folds", 2, "--max-steps", 2)
MOST = (*HOLD_OUT, *EMA, *AUXILIARY, *LDA_OF_ALL_VIEWS, *EVAL_EVERY, "--clip-norm", 5, "--max-steps", 6,
        "--checkpoint-steps", 3)


def libraries(run: Run) -> Items:
    """What the numbers depend on beside the revision."""
    return {"torch": str(torch.__version__), "numpy": np.__version__, "pandas": pd.__version__,
            "vectors": torch.backends.cpu.get_cpu_capability()}


def presets(run: Run) -> Items:
    """All settings that each preset stands for."""
    screens = {"demo": (), "fields256": (), "fields128": (), "bbbc021": ("--bbbc021", "x"), "screen": ("--sites", "x.csv")}
    return {f"{preset}/{name}": value for preset, named in screens.items() for name, value in spelled_alike(
        yaml.safe_load(run("train.py", preset, *named, "--print-config"))).items()}


def synth(run: Run) -> Items:
    """Synthetic plates of two weeks: 108 fields, of which 48 have a known mechanism."""
    mechanisms = "Actin disruptors,DNA damage,Eg5 inhibitors"
    run("-m", "mscnn", "synth", "--out", "plates", "--plates", 1, "--mechanisms", mechanisms)
    images = sorted(Path("plates").rglob("*.tif"))
    for path in images:
        os.utime(path, (0, 0))  # it becomes part of packs
    return {"pixels": {str(path): tifffile.imread(path) for path in images}, **files("plates", "*.csv")}


def train(run: Run) -> Items:
    """EMA, auxiliary task, all views and LDA head; the profiles and an attribution of that network."""
    return trained(run, "train", *DEMO, *MOST) | evaluated(run, "train", "--profiles", "all", examples=1)


def train_on_2_ranks(run: Run) -> Items:
    """The same on two ranks; two ranks evaluate."""
    return trained(run, "train-2", *DEMO, *MOST, ranks=2) | evaluated(run, "train-2", ranks=2)


def softmax_on_2_ranks(run: Run) -> Items:
    """Two ranks without EMA and auxiliary task, the head as trained; weights of classes, smoothed labels."""
    options = ("--class-weights", "balanced", "--label-smoothing", 0.1, "--max-steps", 5)
    return trained(run, "softmax", *DEMO, *HOLD_OUT, *options, ranks=2)


def resampled(run: Run) -> Items:
    """Fields rotated, zoomed and shifted, in this case alone: another way to resample may round otherwise."""
    return trained(run, "resampled", *DEMO, *HOLD_OUT, *RESAMPLED, "--max-steps", 3)


def resumed(run: Run) -> Items:
    """A run on a site table that is stopped after its first step, resumed and evaluated."""
    draw_sites(Path("sites"))
    words = ("supervised", "--sites", "sites/sites.csv", "--hold-out", "b", *EMA, *AUXILIARY, *EVAL_EVERY, "--minibatch", 8,
             "--epochs", 2)
    stopped = trained(run, "resumed", *words, "--stop-after", 1e-9, ends=75)
    return {f"stopped/{name}": value for name, value in stopped.items()} \
        | trained(run, "resumed", *words, "--resume", "auto") | evaluated(run, "resumed")


def plate_scale(run: Run) -> Items:
    """Each plate on its own scale; the first of two folds, its head without ReLU."""
    return trained(run, "plate", *DEMO, *TWO_FOLDS, "--normalise", "plate", "--head-relu", "false") \
        | evaluated(run, "plate")


def field_scale(run: Run) -> Items:
    """Each field on its own scale; the second fold, by dense gradients."""
    return trained(run, "field", *DEMO, *TWO_FOLDS, "--fold", 1, "--normalise", "field", "--gradient", "dense") \
        | evaluated(run, "field")


def gather(run: Run) -> Items:
    """Both folds scored as one screen."""
    run("-m", "mscnn", "gather", "plate/evaluation", "field/evaluation", "--out", "gathered")
    return scores_in(Path("gathered"))


def pack(run: Run) -> Items:
    """All bytes of a pack, and of one at half the size."""
    run("-m", "mscnn", "pack", "--bbbc021", "plates", "--out", "packed")
    run("-m", "mscnn", "pack", "--bbbc021", "plates", "--out", "halved", "--downscale", 2)
    return {f"{folder}/{name}": content for folder in ("packed", "halved") for name, content in files(folder, "*").items()}


def train_from_pack(run: Run) -> Items:
    """Packed fields, a week left out, sparse gradients by torch's own operations."""
    return trained(run, "from-pack", "screen", "--packed", "packed", "--split-method", "leave-week-out", "--kernel",
                   "torch",
                   "--gradient", "sparse", "--minibatch", 4, "--max-steps", 2)


def features(run: Run) -> Items:
    """Handcrafted features of the site table, and all baselines on its split."""
    run("-m", "mscnn", "features", "--sites", "sites/sites.csv", "--out", "features.parquet")
    run("-m", "mscnn", "baselines", "resumed", "--features", "features.parquet")
    baselines = read_json("resumed/evaluation/baselines.json")["baselines"]
    return {"features.parquet": pd.read_parquet("features.parquet"), **baselines}


def score(run: Run) -> Items:
    """NSC and NSCB of the network's features, of handcrafted ones, and of drawn ones for all of BBBC021."""
    pd.read_parquet("features.parquet").to_csv("features.csv", index=False)
    ways = {"network": ("train/evaluation/profiles.parquet",),
            "handcrafted": ("features.csv", "--normalise", "mad", "--sphere", "true", "--aggregate-treatments", "mean")}
    if Path("data").exists():
        draw_bbbc021(Path("bbbc021.parquet"))
        ways["bbbc021"] = ("bbbc021.parquet", "--similarity", "euclidean")
    found = {}
    for way, words in ways.items():
        run("-m", "mscnn", "score", *words, "--json", f"{way}.json")
        scores = read_json(f"{way}.json")
        found |= {f"{way}/{name}": scores[name] for name in scores if name not in ("profiles", "settings")}
    return found


def check(run: Run) -> Items:
    """Maps of plates."""
    run("-m", "mscnn", "check", "--bbbc021", "plates", "--out", "checked")
    return files("checked", "*.csv")


def export(run: Run) -> Items:
    """Weights for others, and the scales of plates."""
    run("-m", "mscnn", "export", "plate", "--out", "exported")
    return {path.name: load_file(path) for path in Path("exported").glob("*.safetensors")}


CASES = (libraries, presets, synth, train, train_on_2_ranks, softmax_on_2_ranks, resampled, resumed, plate_scale,
         field_scale, gather, pack, train_from_pack, features, score, check, export)


def trained(run: Run, name: str, *words: Any, ranks: int = 1, ends: int = 0) -> Items:
    """Train into a run directory: its newest checkpoint, metrics, split, and which checkpoints are kept."""
    run("train.py", *words, *PATIENT, "--log-every", 1, "--run-dir", name, ranks=ranks, ends=ends)
    metrics = [json.loads(line) for line in Path(name, "metrics.jsonl").read_text().splitlines()]
    kept = {path.stem: path.resolve().stem for path in Path(name, "checkpoints").iterdir()}
    return {f"checkpoint/{item}": own for item, own in checkpoint_of(Path(name)).items()} | {
        "metrics": [{key: own for key, own in line.items() if key not in TIMES} for line in metrics],
        "kept": kept, "split.csv": Path(name, "split.csv").read_bytes()}


def evaluated(run: Run, name: str, *words: Any, examples: int = 0, ranks: int = 1) -> Items:
    """Evaluate a run: predictions at all levels, scores, profiles, and attributions of so many examples."""
    run("evaluate.py", "--checkpoint", name, *PATIENT, "--examples", examples, *words, ranks=ranks)
    gallery = read_json(f"{name}/evaluation/gallery/gallery.json") if examples else []
    return scores_in(Path(name, "evaluation")) | {
        "gallery": [{key: own for key, own in shown.items() if key != "files"} for shown in gallery]}


def scores_in(folder: Path) -> Items:
    """Read what evaluate.py and gather write."""
    described = read_json(folder / "evaluation.json")
    kept = ("step", "compounds", "control", "channels", "classes", "aggregate_wells", "aggregate_treatments", "tta", "head",
            "seed")
    return {**files(folder, "*.csv"), **{path.name: pd.read_parquet(path) for path in folder.glob("*.parquet")},
            **{f"scores.json/{level}": own for level, own in read_json(folder / "scores.json").items()},
            "evaluation.json": {name: described.get(name) for name in kept} | {"notes": len(described["notes"])}}


def files(folder: str | Path, pattern: str) -> Items:
    """Bytes of files by name."""
    return {path.name: path.read_bytes() for path in Path(folder).glob(pattern)}


def read_json(path: str | Path) -> Any:
    """Read a JSON file, spelled as the items are."""
    return spelled_alike(json.loads(Path(path).read_text()))


def draw_sites(folder: Path) -> None:
    """Draw a site table of two channels: 4 compounds of 2 mechanisms and DMSO, 2 wells each, 3 fields a well."""
    rng, rows = np.random.default_rng(0), []
    columns = ("Plate", "Week", "Well", "Site", "Compound", "Concentration", "MOA")
    folder.mkdir()
    for place, (compound, mechanism, level) in enumerate((
            ("a", "bright", 900), ("b", "bright", 800), ("c", "dark", 200), ("d", "dark", 300), ("DMSO", "DMSO", 500))):
        for plate, site in product((1, 2), (1, 2, 3)):
            names = [f"{compound}-{plate}-{site}-{channel}.tif" for channel in ("DNA", "RNA")]
            for name in names:
                blobs = np.exp(10 * gaussian_filter(rng.normal(size=(128, 128)), 4))  # as large as nuclei
                tifffile.imwrite(folder / name, rng.poisson(level * blobs).astype(np.uint16))
            rows.append((*names, f"P{plate}", f"W{plate}", f"{'BCDEF'[place]}02", site, compound, "0.30", mechanism))
    header = ["FileName_DNA", "FileName_RNA", *(f"Metadata_{name}" for name in columns)]
    pd.DataFrame(rows, columns=header).to_csv(folder / "sites.csv", index=False)


def draw_bbbc021(path: Path) -> None:
    """Draw features of all fields of BBBC021, beside their real metadata."""
    images, known = (pd.read_csv(f"data/bbbc021_csv/BBBC021_v1_{name}.csv") for name in ("image", "moa"))
    images = images.rename(columns=lambda name: name.removeprefix("Image_Metadata_").lower())
    table = images.merge(known, on=["compound", "concentration"], how="left")
    drawn = pd.DataFrame({
        "Metadata_Plate": table["plate_dapi"], "Metadata_Week": table["plate_dapi"].str.split("_").str[0],
        "Metadata_Well": table["well_dapi"], "Metadata_Compound": table["compound"],
        "Metadata_Concentration": table["concentration"], "Metadata_MOA": table["moa"]})
    centres = table["moa"].astype("category").cat.codes.to_numpy()[:, None]
    drawn[[f"Cells_F{number}" for number in range(16)]] = np.random.default_rng(2).normal(centres, 8, (len(table), 16))
    drawn.to_parquet(path)
