import dataclasses
import errno
import json
import os
import pickle  # noqa: TID251  # to make what must be refused
import re
import shutil
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError

from mscnn.core import config
from mscnn.core.errors import DataError
from mscnn.data.pixels.count_statistics import QUANTITIES, summarise
from mscnn.data.pixels.scale import ScaleRecord
from mscnn.data.tables.splits import SplitRecord
from mscnn.model import MCNN
from mscnn.readout.choice import Choice, Judgement
from mscnn.readout.record import ReadoutRecord
from mscnn.training import checkpoint
from mscnn.training.checkpoint import Checkpoint, ResumeRecord
from tests.data.pixels.test_plate_scale import tiny

WEIGHTS = {name: torch.rand(weight.shape) for name, weight in MCNN(2, 1, 128, 128).state_dict().items()}
COUNTS = summarise(np.ones((2, 1, len(QUANTITIES))), "uint16", [0.65])
READOUT = ReadoutRecord(
    {"columns": {"statistics": ["s1", "s2"]}, "parts": ["statistics"],
     "choice": Choice("statistics", "the simplest", 3, {"statistics": Judgement(0.1)}).to_json()},
    {"weights-0": np.array([[1.0, 2.0], [3.0, 4.0]]), "biases-0": np.array([0.0, 1e-17])})
CHECKPOINT = Checkpoint(  # of the smallest network, its biases not zero: each tensor has bytes of its own
    step=1, total_steps=9, settings=config.from_flat({"preset": "demo", "sites": "sites.csv"}).flat(),
    classes=["a", "b"], channels=["DNA"], image_size=[128, 128],
    scale=ScaleRecord({"mode": "dataset", "mean": [1.0], "sd": [2.0]}, {}),
    split=SplitRecord(method="hold-out", held_out=["x"], leaks="", sha256="0", sites={"train": 1, "test": 1, "unused": 0},
                      trained={"compounds": ["y"], "mechanisms": ["a", "b"], "weeks": []}, unlearnable=[],
                      sides=["train", "test"]),
    network=WEIGHTS, counts=COUNTS, readout=READOUT,
    resume=ResumeRecord(
        loss_module={f"network.{name}": weight + 1 for name, weight in WEIGHTS.items()},
        optimiser={"state": {0: {"momentum_buffer": torch.rand(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        ema={"steps": 1, "shadow": list(WEIGHTS.values())}, rng_state=torch.get_rng_state(), best_epoch_mean=None,
        epoch_losses=[0.1, 1e-17], recent_losses=[2.5], nonfinite_steps=0, has_lda_head=False, is_best=False,
        numerics={"ranks": 2, "threads": [1]}))
CONTENT = checkpoint._content(CHECKPOINT)


def save(folder, step: int = 1, **options):
    return checkpoint.save(folder, dataclasses.replace(CHECKPOINT, step=step), **{"keep": 2, **options})


def write(path, header: dict[str, str], tensors: dict[str, torch.Tensor]):
    safetensors.torch.save_file(tensors, path, header)
    return path


def forge(path, **changes):
    """What anybody can write: a checkpoint of other content, with the digest that it should have."""
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps(checkpoint._without_tensors(CONTENT | changes, "", tensors, {}))
    header = {"format": str(checkpoint.FORMAT), "sha256": checkpoint.digest(text, tensors), "content": text}
    return write(path, header, tensors)


def refusal(path) -> str:
    """What is said of a file that is no checkpoint, in one line that names it."""
    with pytest.raises(DataError) as raised:
        checkpoint.load(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)
    return str(raised.value)


def equal(one, other) -> bool:
    """Whether two contents are the same: types, numbers, shapes and bytes."""
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other) and one.dtype == other.dtype
    return type(one) is type(other) and one == other


def test_what_is_saved_is_loaded(tmp_path):
    path = save(tmp_path)
    found = checkpoint.load(path)
    assert equal(checkpoint._content(found), CONTENT)
    assert found.resume.optimiser["state"].keys() == {0}
    assert sorted(os.listdir(tmp_path)) == ["last.safetensors", "step-00000001.safetensors"]
    assert checkpoint.load(tmp_path / "last.safetensors").step == 1


def test_other_programs_read_its_tensors(tmp_path):
    """By the library of the format; the moving average, which is what predicts, is there once."""
    tensors = safetensors.torch.load_file(save(tmp_path))
    assert all(torch.equal(tensors[f"network/{name}"], weight) for name, weight in WEIGHTS.items())
    assert torch.equal(tensors["resume/loss_module/network.classify.bias"], WEIGHTS["classify.bias"] + 1)
    assert not [name for name in tensors if name.startswith("resume/ema")]


def test_tensors_of_another_memory_format_come_back_as_they_were(tmp_path):
    weight = torch.randn(2, 3, 4, 5)
    for name, laid_out in (("rows", weight), ("last", weight.contiguous(memory_format=torch.channels_last))):
        (tmp_path / name).mkdir()
        resume = dataclasses.replace(CHECKPOINT.resume, loss_module={"w": laid_out, "u": laid_out[:, :1]})
        found = checkpoint.load(checkpoint.save(tmp_path / name, dataclasses.replace(CHECKPOINT, resume=resume), keep=1))
        for key, expected in (("w", weight), ("u", weight[:, :1])):
            assert torch.equal(found.resume.loss_module[key], expected), (name, key)


def test_the_newest_stay_and_those_that_have_a_name(tmp_path):
    for step in range(1, 8):
        save(tmp_path, step, is_best=step == 2)
    assert [path.name for path in checkpoint.list_checkpoints(tmp_path)] == [f"step-{n:08d}.safetensors" for n in (7, 6, 2)]
    links = (checkpoint.LAST, checkpoint.BEST, checkpoint.GOOD)
    assert [os.readlink(tmp_path / name) for name in links] == [f"step-{n:08d}.safetensors" for n in (7, 2, 6)]
    for step in (8, 9):
        save(tmp_path, step, keep=1)
    kept = [path.name for path in checkpoint.list_checkpoints(tmp_path)]
    assert kept == [f"step-{n:08d}.safetensors" for n in (9, 8, 2)]  # good: the 8th


def test_a_process_that_was_killed_between_a_checkpoint_and_its_links_loses_none(tmp_path):
    for step in (1, 2):
        save(tmp_path, step, is_best=step == 1)
    # As if the links of 2 had not been made.
    checkpoint.set_latest(tmp_path, tmp_path / "step-00000001.safetensors", is_best=False)
    checkpoint.set_latest(tmp_path, save(tmp_path, 2), is_best=True)
    assert {os.readlink(tmp_path / name) for name in (checkpoint.LAST, checkpoint.BEST)} == {"step-00000002.safetensors"}
    checkpoint.set_latest(tmp_path, save(tmp_path, 3), is_best=False)
    assert os.readlink(tmp_path / "best.safetensors") == "step-00000002.safetensors"


def test_a_save_that_fails_leaves_the_old_checkpoints(tmp_path, monkeypatch):
    before = save(tmp_path).read_bytes()

    def fail(_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save(tmp_path, 2)
    assert (tmp_path / "last.safetensors").read_bytes() == before
    monkeypatch.undo()
    assert sorted(os.listdir(tmp_path)) == ["last.safetensors", "step-00000001.safetensors"]
    (tmp_path / "step-00000002.safetensors.partial").write_bytes(b"of a process that was killed")
    save(tmp_path, 3)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("problem", [SafetensorError("I/O error: No space left on device"), OSError("disk full"),
                                     MemoryError("too much"), KeyboardInterrupt("stop")])
def test_half_a_checkpoint_is_not_left_on_a_full_disk_and_the_reason_is_told(tmp_path, monkeypatch, problem):
    def fail(tensors, path, header):
        path.write_bytes(b"half")
        assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.safetensors.partial"]
        raise problem

    monkeypatch.setattr(safetensors.torch, "save_file", fail)
    with pytest.raises((OSError, type(problem)), match=str(problem)):
        save(tmp_path)
    assert not os.listdir(tmp_path)
    monkeypatch.setattr(checkpoint.Path, "unlink", lambda *_, **__: os.close(-1))  # which fails as well
    with pytest.raises((OSError, type(problem)), match=str(problem)):
        save(tmp_path)


def test_nothing_is_written_where_room_is_short(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(9, 9, 12))
    with pytest.raises(OSError, match="10 MiB are needed and 0 free"):
        save(tmp_path)
    assert not os.listdir(tmp_path)


def test_a_run_directory_or_a_file_is_found(tmp_path):
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    with pytest.raises(DataError, match="no checkpoint there"):
        checkpoint.read(tmp_path)
    save(folder)
    path = save(folder, 2)
    assert checkpoint.read(tmp_path)[0] == path
    assert checkpoint.read(folder / "step-00000001.safetensors")[1].step == 1


def test_the_newest_whole_one_is_taken(tmp_path, caplog):
    paths = [save(tmp_path, step, keep=9) for step in (1, 2, 3)]
    paths[2].write_bytes(paths[2].read_bytes()[:-50])
    whole = paths[1].read_bytes()
    paths[1].write_bytes(whole[:-40] + bytes([whole[-40] ^ 1]) + whole[-39:])
    assert checkpoint.newest(tmp_path)[1].step == 1
    paths[0].write_bytes(b"")
    with pytest.raises(DataError, match="none of its 3 checkpoints is valid") as raised:
        checkpoint.newest(tmp_path)
    assert [re.search(r"not (a readable|what was written)", text)[1] for text in raised.value.details] == [
        "a readable", "what was written", "a readable"]


def test_no_flipped_bit_goes_unnoticed(tmp_path):
    """In what is read of it: some bytes of each tensor, and all of the header's."""
    path = save(tmp_path)
    whole = path.read_bytes()
    start = 8 + int.from_bytes(whole[:8], "little")
    places = [*range(0, start, 111), *range(start, len(whole), 29917)]
    assert len(places) > 200
    unnoticed = 0
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1:])
        try:
            found = checkpoint.load(path)
        except DataError:
            continue
        assert equal(checkpoint._content(found), CONTENT)  # of what is never used, such as a blank of the header
        unnoticed += 1
    assert unnoticed < 5


def test_the_digest_tells_all_that_differs():
    tensor = torch.arange(4.0)
    others = [("1", {}), ("1.0", {}), ("1", {"a": tensor}), ("1", {"b": tensor}), ("1", {"a": tensor.reshape(2, 2)}),
              ("1", {"a": tensor.double()}), ("1", {"a": tensor.flip(0)}), ("1", {"a": tensor, "b": tensor})]
    assert len({checkpoint.digest(*content) for content in others}) == len(others)


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    broken = WEIGHTS | {"classify.bias": torch.tensor([1.0, float("nan")])}
    path = checkpoint.save(tmp_path, dataclasses.replace(CHECKPOINT, network=broken), keep=1)
    with pytest.raises(DataError, match="not finite"):
        checkpoint.load(path)


def test_an_archive_or_a_pickle_is_refused_and_nothing_of_it_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": 2, "network": Hostile()}, "step-00000001.pt")
    with zipfile.ZipFile("bomb.safetensors", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", bytes(10**7))
    (tmp_path / "b.safetensors").write_bytes(pickle.dumps(Hostile()))
    for name in ("step-00000001.pt", "bomb.safetensors"):
        assert "a checkpoint of mscnn 0.1, which this version does not read; use mscnn 0.1 for it" in refusal(
            tmp_path / name)
    assert "not a readable checkpoint" in refusal(tmp_path / "b.safetensors")
    assert not (tmp_path / "hostile-was-here").exists()


def test_a_run_of_an_older_version_is_named_as_such_and_not_started_anew(tmp_path):
    torch.save({"format": 2}, tmp_path / "step-00000003.pt")
    with pytest.raises(DataError, match=r"(?s)none of its 1 checkpoints is valid.*000003\.pt: a checkpoint of mscnn 0\.1"):
        checkpoint.newest(tmp_path)


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("hostile-was-here",)


def test_foreign_files_and_those_of_another_format_are_refused(tmp_path):
    write(tmp_path / "newer", {"format": "99"}, {})
    write(tmp_path / "foreign", {}, {"weight": torch.ones(2)})
    write(tmp_path / "part", {"format": str(checkpoint.FORMAT)}, {})
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "endless").write_bytes((2**63).to_bytes(8, "little") + b"{}")
    for name, reason in {"newer": "format '99', this version reads 3", "foreign": "format None", "part": "content",
                         "empty": "not a readable checkpoint", "endless": "not a readable checkpoint"}.items():
        assert reason in refusal(tmp_path / name)


@pytest.mark.parametrize(("older", "newer", "lacking"), [("3", "4", ("counts", "readout")), ("4", "5", ("readout",))])
def test_what_an_older_format_lacks_may_be_missing_in_it_alone(tmp_path, older, newer, lacking):
    tensors: dict[str, torch.Tensor] = {}
    content = {name: value for name, value in CONTENT.items() if name not in lacking}
    text = json.dumps(checkpoint._without_tensors(content, "", tensors, {}))
    for number in (older, newer):
        write(tmp_path / number, {"format": number, "sha256": checkpoint.digest(text, tensors), "content": text}, tensors)
    saved = checkpoint.load(tmp_path / older)
    assert equal(checkpoint._content(saved), CONTENT | dict.fromkeys(lacking))
    assert f"not a readable checkpoint ('{lacking[0]}')" in refusal(tmp_path / newer)


@pytest.mark.parametrize(("changes", "reason"), [
    ({}, ""), ({"facts": READOUT.facts | {"parts": ["network"]}}, "parts holds 'network', which no read-out has"),
    ({"facts": []}, "its readout facts is not"), ({"arrays": {}}, "weights-0 is missing"),
    ({"arrays": {"weights-0": torch.ones(3, 2, dtype=torch.float64), "biases-0": torch.ones(3, dtype=torch.float64)}},
     r"weights-0 is float64 (3, 2), not finite float64 (2, 2)"),
    ({"arrays": {"weights-0": [[1.0]], "biases-0": [1.0]}}, "has no attribute 'numpy'")])
def test_a_read_out_fits_its_checkpoint(tmp_path, changes, reason):
    path = forge(tmp_path / "step-00000001.safetensors", readout=CONTENT["readout"] | changes)
    if reason:
        assert reason in refusal(path)
    else:
        assert checkpoint.load(path).readout.facts == READOUT.facts


@pytest.mark.parametrize(("counts", "reason"), [
    (COUNTS.to_json(), ""), (None, ""), ("text", "its counts"), ({}, "dtype"),
    (COUNTS.to_json() | {"fields": "9"}, "fields"),
    (COUNTS.to_json() | {"channels": []}, "its counts"), (COUNTS.to_json() | {"channels": [{"sd": [1.0]}]}, "quantiles")])
def test_counts_are_whole_and_of_each_channel(tmp_path, counts, reason):
    path = forge(tmp_path / "step-00000001.safetensors", counts=counts)
    if reason:
        assert reason in refusal(path)
    else:
        assert checkpoint.load(path).counts == (counts and COUNTS)


def test_the_largest_honest_checkpoint_is_read_and_larger_ones_are_not(tmp_path, monkeypatch):
    """Weights, momentum and averages: of the published fields, and of 4096x4096."""
    for height, width, least in ((1024, 1280, 8), (4096, 4096, 1)):
        with torch.device("meta"):
            network = MCNN(13, 3, height, width, gradient="dense")
        assert 3 * sum(weight.nbytes for weight in network.parameters()) * least < checkpoint.LARGEST
    path = save(tmp_path)
    monkeypatch.setattr(checkpoint, "LARGEST", path.stat().st_size - 1)
    assert "bytes, more than any checkpoint has" in refusal(path)


def test_no_pipe_is_waited_for(tmp_path):
    before = save(tmp_path)
    os.mkfifo(tmp_path / "step-00000002.safetensors")
    assert "no regular file" in refusal(tmp_path / "step-00000002.safetensors")
    assert checkpoint.newest(tmp_path)[0] == before


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(("reason", "text"), [
    ("recursion", nested(10**6)),
    ("NaN in its JSON", '{"step": NaN}'),
    ("Infinity in its JSON", '{"step": -Infinity}'),
    ("'nowhere'", '{"network": {"tensor": "nowhere"}}'),
    ("'resume'", "{}"),
    ("not a readable checkpoint", "[1, 2"),
    ("not a readable checkpoint", json.dumps("text")),
])
def test_json_that_is_never_written_is_refused_and_an_older_one_used(tmp_path, reason, text):
    before = save(tmp_path)
    path = write(tmp_path / "step-00000002.safetensors",
                 {"format": str(checkpoint.FORMAT), "sha256": checkpoint.digest(text, {}), "content": text}, {})
    assert reason in refusal(path)
    assert checkpoint.newest(tmp_path)[0] == before


@pytest.mark.parametrize("short", [lambda: torch.empty(2**50), lambda: [None] * 2**58])
def test_a_machine_that_is_short_of_memory_makes_no_good_checkpoint_pass_for_damaged(tmp_path, monkeypatch, short):
    """By what torch and Python themselves raise for a petabyte and more."""
    for step in (1, 2):
        save(tmp_path, step)
    monkeypatch.setattr(safetensors.torch, "load", lambda data: short())
    with pytest.raises((MemoryError, RuntimeError)) as raised:
        checkpoint.newest(tmp_path)
    assert not isinstance(raised.value, DataError)


def test_a_disk_that_fails_is_damage(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    for step in (1, 2):
        save(tmp_path, step)
    monkeypatch.setattr(safetensors.torch, "load", fail)
    with pytest.raises(DataError, match=r"(?s)none of its 2 checkpoints is valid.*000002\.safetensors.*Input/output error"):
        checkpoint.newest(tmp_path)


def without(key: str, part: str) -> dict:
    """A change that takes something out."""
    return {key: {name: value for name, value in CONTENT[key].items() if name != part}}


def put(key: str, **changes) -> dict:
    """A change of something within."""
    return {key: CONTENT[key] | changes}


def facts(**changes) -> dict:
    """A change to the facts of the scale."""
    return {"scale": {"facts": CONTENT["scale"]["facts"] | changes, "arrays": {}}}


def plates(channels: int = 1, **changes) -> dict:
    """A change to --normalise plate, measured in so many channels."""
    record = tiny().to_record()
    arrays = {name: torch.from_numpy(np.repeat(array[:, :1], channels, 1)) for name, array in record.arrays.items()}
    return {"scale": {"facts": record.facts | changes, "arrays": arrays}}


BIAS = CONTENT["network"]["classify.bias"]


@pytest.mark.parametrize(("changes", "reason"), [
    ({"settings": []}, "its settings is not"),
    ({"step": "1"}, "its step is not"),
    ({"resume": None}, "not a readable checkpoint"),
    ({"more": 1}, "its more is not"),
    (put("resume", more=1), "its resume more is not"),
    (without("resume", "rng_state"), "its resume rng_state is not"),
    (put("resume", epoch_losses=["1"]), "its resume epoch_losses is not"),
    (put("resume", optimiser=[]), "its resume optimiser is not"),
    (without("settings", "preset"), "its settings preset is not"),
    (without("settings", "head"), "its settings head is not"),
    (without("settings", "sites"), "name the screen by exactly one of"),
    (put("settings", sites=5), "its settings sites is not"),
    (put("settings", normalise="other"), "its settings normalise is not"),
    (put("settings", image_size="large"), "image-size must be HEIGHTxWIDTH"),
    (put("settings", epochs=-1), "epochs must be 0 or more"),
    (put("settings", tta=torch.zeros(2)), "its settings tta is not"),
    (without("split", "leaks"), "its split leaks is not"),
    (without("split", "trained"), "its split trained is not"),
    (put("split", trained={"compounds": ["y"], "mechanisms": [1]}), "its split trained mechanisms is not"),
    (put("split", sides=["train", "elsewhere"]), "its split sides is not"),
    ({"classes": ["a", 2]}, "its classes is not"),
    ({"classes": ["b", "a"]}, "its classes is not"),
    ({"classes": ["a", "a"]}, "its classes is not"),
    ({"classes": ["a", "\ud800"]}, "surrogates not allowed"),
    ({"classes": ["a", "b", "c"]}, "its network 'classify.weight' is not"),
    ({"channels": ["DNA", "RNA"], **facts(mode="field", mean=[], sd=[])}, "its network 'branches.0."),
    ({"image_size": [128]}, "not enough values to unpack"),
    ({"image_size": [100, 128]}, "fields of 100x128 pixels do not fit"),
    ({"image_size": [256, 128]}, "its network 'hidden.weight' is not"),
    ({"image_size": [2**20, 2**20]}, "its network 'hidden.weight' is not"),
    ({"image_size": [2**62, 2**62]}, "Overflow"),
    (without("network", "classify.bias"), "its network 'classify.bias' is not"),
    (put("network", **{"a\nb": BIAS}), r"its network 'a\nb' is not"),
    (put("network", **{"classify.bias": BIAS.double()}), "its network 'classify.bias' is not"),
    (put("network", **{"classify.bias": BIAS.clone()[None]}), "its network 'classify.bias' is not"),
    (put("network", **{"classify.bias": None}), "no attribute 'shape'"),
    (put("settings", head_relu=None), "its settings head_relu is not"),
    (facts(mean=[1.0, 2.0]), "not a readable checkpoint"),
    (facts(mean=[1.0, 2.0], sd=[1.0, 2.0]), "its scale is not"),
    (facts(sd=["a"]), "not a readable checkpoint"),
    (facts(mode="other"), "scale of mode 'other'"),
    (facts(more=1), "not a readable checkpoint"),
    (plates(channels=2), "its scale is not"),
    (plates(size=[128, 128, 3]), "its scale is not"),
    (plates(plates=[["P1"], ["P2"]]), "its scale facts plates is not"),
    (plates(format=9), "format 9"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_what_anybody_can_make_is_refused_where_it_does_not_fit_the_schema(tmp_path, changes, reason):
    """Its digest is right; what it asks for, as a network for fields of a million pixels a side, is never allocated."""
    assert reason in refusal(forge(tmp_path / "forged", **changes))


@pytest.mark.parametrize("changes", [{}, plates(), facts(mode="field", mean=[], sd=[]),
                                     without("settings", "tta"), put("settings", stop_after=1, foreign=2)],
                         ids=["whole", "plates", "fields", "fewer settings", "other settings"])
def test_what_fits_the_schema_is_read(tmp_path, changes):
    """Settings of other versions too."""
    assert checkpoint.load(forge(tmp_path / "whole", **changes)).step == 1
