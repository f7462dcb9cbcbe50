import errno
import os
import pickle  # noqa: TID251  # to make what must be refused
import re
import shutil
import zipfile
from collections import OrderedDict

import pytest
import torch
from torch.torch_version import TorchVersion

from mscnn.core import config
from mscnn.core.errors import DataError, UsageError
from mscnn.model import MCNN
from mscnn.training import checkpoint, prepare_data
from tests.data.pixels.test_plate_scale import tiny

CONTENT = {  # of the smallest network, its biases not zero: each tensor has bytes of its own
    "step": 1, "steps": 9, "config": config.from_flat({"preset": "demo", "sites": "sites.csv"}).flat(),
    "classes": ["a", "b"], "channels": ["DNA"], "normalisation": {"mode": "dataset", "mean": (1.0,), "sd": (2.0,)},
    "image_size": [128, 128], "training": {},
    "split": {"method": "hold-out", "held_out": ["x"], "leaks": "", "sha256": "0", "sides": ["train", "test"],
              "trained": {"compounds": ["y"], "mechanisms": ["a", "b"], "weeks": []}},
    "network": {name: torch.rand(weight.shape) for name, weight in MCNN(2, 1, 128, 128).state_dict().items()}}


def save(folder, step: int = 1, **options):
    return checkpoint.save(folder, CONTENT | {"step": step}, **{"keep": 2, **options})


def forge(path, content=CONTENT, **changes):
    """What anybody can write: a checkpoint of other content, with the digest that it should have."""
    content = content | changes
    torch.save({"format": checkpoint.FORMAT, "sha256": checkpoint.digest(content), **content}, path)
    return path


def refusal(path) -> str:
    """What is said of a file that is no checkpoint, in one line that names it."""
    with pytest.raises(DataError) as raised:
        checkpoint.load(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_is_saved_is_loaded(tmp_path):
    path = save(tmp_path)
    content = checkpoint.load(path)
    assert content["network"].keys() == CONTENT["network"].keys()
    assert all(torch.equal(weight, content["network"][name]) for name, weight in CONTENT["network"].items())
    assert content["classes"] == ["a", "b"]
    assert sorted(os.listdir(tmp_path)) == ["last.pt", "step-00000001.pt"]
    assert checkpoint.load(tmp_path / "last.pt")["step"] == 1


def test_the_newest_stay_and_those_that_have_a_name(tmp_path):
    for step in range(1, 8):
        save(tmp_path, step, is_best=step == 2)
    assert [path.name for path in checkpoint.list_checkpoints(tmp_path)] == [f"step-{n:08d}.pt" for n in (7, 6, 2)]
    assert {name: os.readlink(tmp_path / name) for name in ("last.pt", "best.pt", "good.pt")} == {
        "last.pt": "step-00000007.pt", "best.pt": "step-00000002.pt", "good.pt": "step-00000006.pt"}
    for step in (8, 9):
        save(tmp_path, step, keep=1)
    kept = [path.name for path in checkpoint.list_checkpoints(tmp_path)]
    assert kept == [f"step-{n:08d}.pt" for n in (9, 8, 2)]  # good: the 8th


def test_a_process_that_was_killed_between_a_checkpoint_and_its_links_loses_none(tmp_path):
    for step in (1, 2):
        save(tmp_path, step, is_best=step == 1)
    checkpoint.set_latest(tmp_path, tmp_path / "step-00000001.pt", is_best=False)  # as if the links of 2 had not been made
    checkpoint.set_latest(tmp_path, save(tmp_path, 2), is_best=True)
    assert {os.readlink(tmp_path / name) for name in ("last.pt", "best.pt")} == {"step-00000002.pt"}
    checkpoint.set_latest(tmp_path, save(tmp_path, 3), is_best=False)
    assert os.readlink(tmp_path / "best.pt") == "step-00000002.pt"


def test_a_save_that_fails_leaves_the_old_checkpoints(tmp_path, monkeypatch):
    before = save(tmp_path).read_bytes()

    def fail(_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save(tmp_path, 2)
    assert (tmp_path / "last.pt").read_bytes() == before
    monkeypatch.undo()
    assert sorted(os.listdir(tmp_path)) == ["last.pt", "step-00000001.pt"]
    (tmp_path / "step-00000002.pt.partial").write_bytes(b"of a process that was killed")
    save(tmp_path, 3)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("problem", [RuntimeError("PytorchStreamWriter failed writing file"), OSError("disk full"),
                                     MemoryError("too much"), KeyboardInterrupt("stop")])
def test_half_a_checkpoint_is_not_left_on_a_full_disk_and_the_reason_is_told(tmp_path, monkeypatch, problem):
    def fail(content, file):
        file.write(b"half")
        file.flush()
        assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.pt.partial"]
        raise problem

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises((OSError, type(problem)), match=str(problem)):
        save(tmp_path)
    assert not os.listdir(tmp_path)
    monkeypatch.setattr(checkpoint.Path, "unlink", lambda *_, **__: os.close(-1))  # which fails as well
    with pytest.raises((OSError, type(problem)), match=str(problem)):
        save(tmp_path)


def test_nothing_is_written_where_room_is_short(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(9, 9, 12))
    with pytest.raises(OSError, match="5 MiB are needed and 0 free"):
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
    assert checkpoint.read(folder / "step-00000001.pt")[1]["step"] == 1


def test_the_newest_whole_one_is_taken(tmp_path, caplog):
    paths = [save(tmp_path, step, keep=9) for step in (1, 2, 3)]
    paths[2].write_bytes(paths[2].read_bytes()[:-50])
    changed = torch.load(paths[1], weights_only=True)
    changed["network"]["classify.bias"][1] = 7.0
    torch.save(changed, paths[1])
    assert checkpoint.newest(tmp_path)[1]["step"] == 1
    paths[0].write_bytes(b"")
    with pytest.raises(DataError, match="none of its 3 checkpoints is whole") as raised:
        checkpoint.newest(tmp_path)
    assert [re.search(r"not (a readable|what was written)", text)[1] for text in raised.value.details] == [
        "a readable", "what was written", "a readable"]


def test_no_flipped_bit_goes_unnoticed(tmp_path):
    """In what is read of it: some bytes of each tensor, and of the names and numbers beside them."""
    path = save(tmp_path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        stored = [archive.read(entry) for entry in archive.infolist() if "/data" in entry.filename]
    places = [whole.find(part) + offset for part in stored for offset in range(0, len(part), min(len(part) // 3 + 1, 2999))
              if offset < 9000] + [whole.find(stored[0]) + offset for offset in range(0, len(stored[0]), 29)]
    assert len({*places}) > 300
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1:])
        try:
            content = checkpoint.load(path)
        except DataError:
            continue
        assert checkpoint.digest({key: content[key] for key in CONTENT}) == checkpoint.digest(CONTENT)  # never used


def test_the_digest_tells_all_that_differs():
    tensor = torch.arange(4.0)
    others = [{"a": 1}, {"a": 1.0}, {"a": True}, {"a": "1"}, {"a": None}, {"b": 1}, {"a": [1]}, {"a": [[1]]}, {"a": tensor},
              {"a": tensor.reshape(2, 2)}, {"a": tensor.double()}, {"a": tensor, "b": 1}, {"b": 1, "a": tensor}]
    assert len({checkpoint.digest(content) for content in others}) == len(others)
    square = torch.randn(2, 3, 4, 5)
    assert checkpoint.digest(square) == checkpoint.digest(square.contiguous(memory_format=torch.channels_last))
    with pytest.raises(TypeError, match="not TorchVersion"):
        checkpoint.digest({"torch": torch.__version__})


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    content = CONTENT | {"network": CONTENT["network"] | {"classify.bias": torch.tensor([1.0, float("nan")])}}
    path = checkpoint.save(tmp_path, content, keep=1)
    with pytest.raises(DataError, match="not finite"):
        checkpoint.load(path)


def test_a_small_file_that_unpacks_to_a_large_one_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", bytes(10**7))
    with pytest.raises(DataError, match=r"bytes that hold 10000000"):
        checkpoint.load(tmp_path / "bomb.pt")


@pytest.mark.parametrize(("version", "reads"), [("2.8.0+cpu", False), ("2.9.1", False), ("2.10.0", True), ("2.13.0", True)])
def test_torch_versions_that_a_file_can_trick_read_none(tmp_path, monkeypatch, version, reads):
    path = save(tmp_path)
    monkeypatch.setattr(torch, "__version__", TorchVersion(version))
    if reads:
        assert checkpoint.load(path)["format"] == checkpoint.FORMAT
        return
    with pytest.raises(UsageError, match=rf"\.pt is not read: torch {re.escape(version)} .*torch 2\.10 or newer.*\.venv"):
        checkpoint.load(path)


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("hostile-was-here",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_code_in_a_checkpoint_is_refused_and_never_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": checkpoint.FORMAT, "network": Hostile()}, "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps(Hostile()))
    for name in ("a.pt", "b.pt"):
        with pytest.raises(DataError, match=f"{name}: not a readable checkpoint"):
            checkpoint.load(tmp_path / name)
    assert not (tmp_path / "hostile-was-here").exists()


def test_foreign_and_older_files_are_refused(tmp_path):
    torch.save({"format": 99}, tmp_path / "newer.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"format": [torch.zeros(2, 2)]}, tmp_path / "odd.pt")
    torch.save({"format": checkpoint.FORMAT, "step": 3}, tmp_path / "part.pt")
    for name, reason in {"newer": "format 99", "list": "format 'list'", "odd": "format 'list'", "part": "lacks"}.items():
        assert reason in refusal(tmp_path / f"{name}.pt")


def test_the_largest_honest_checkpoint_is_read_and_larger_ones_are_not(tmp_path, monkeypatch):
    """Weights, momentum and averages: of the published fields, and of 4096x4096."""
    for height, width, least in ((1024, 1280, 8), (4096, 4096, 1)):
        with torch.device("meta"):
            network = MCNN(13, 3, height, width, gradient="dense")
        assert 3 * sum(weight.nbytes for weight in network.parameters()) * least < checkpoint.PROOF
    path = save(tmp_path)
    monkeypatch.setattr(checkpoint, "PROOF", path.stat().st_size - 1)
    assert re.search(r"\d bytes that hold \d", refusal(path))


def test_no_pipe_is_waited_for(tmp_path):
    before = save(tmp_path)
    os.mkfifo(tmp_path / "step-00000002.pt")
    assert "no regular file" in refusal(tmp_path / "step-00000002.pt")
    assert checkpoint.newest(tmp_path)[0] == before


def circle() -> list:
    own = []
    own.append(own)
    return own


class Calls:
    """What a file may ask pickle to call, with numbers of its choice."""

    def __init__(self, called, *arguments):
        self.called, self.arguments = called, arguments

    def __reduce__(self):
        return self.called, self.arguments


@pytest.mark.parametrize(("reason", "hostile"), [
    ("a tensor of 17592186044416 bytes, of which the file holds 4", torch.zeros(1).expand(2**42)),
    ("a tensor of 18446744073709551616 bytes, of which the file holds 4", torch.zeros(1).expand(2**62)),  # 0 in 64 bits
    ("a tensor of 8 bytes, of which the file holds 4", torch.zeros(1).expand(2)),
    ("17 deep", circle()),
    ("bytes that stand for", ["long" * 10**4] * 100),
    ("bytes that stand for", [torch.zeros(10**4)] * 100),
    ("builtins and tensors, not TypedStorage", torch.zeros(1)._typed_storage()),
    ("would call __builtin__ set", {1}),
    ("would call torch float32", torch.float32),
    ("torch._utils _rebuild_sparse_tensor, ", torch.eye(2).to_sparse()),
    ("would call torch float32, torch._utils _rebuild_meta_tensor_no_storage", torch.zeros(1, device="meta")),
    ("would call __builtin__ bytearray", Calls(bytearray, 2**20)),
    ("would call torch FloatTensor", Calls(torch.FloatTensor, 2**20)),
])
def test_what_would_fill_the_memory_or_is_never_written_is_refused_and_an_older_one_used(tmp_path, reason, hostile):
    before = save(tmp_path)
    path = tmp_path / "step-00000002.pt"
    torch.save({"format": checkpoint.FORMAT, "sha256": "", **CONTENT, "network": hostile}, path)
    assert path.stat().st_size < 10**5
    assert reason in refusal(path)
    assert checkpoint.newest(tmp_path)[0] == before


def test_two_pickles_of_which_only_one_is_looked_at_are_refused(tmp_path):
    path = save(tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("x/DATA.pkl", b"")
    assert "2 pickles in it" in refusal(path)


@pytest.mark.parametrize("short", [lambda: torch.empty(2**50), lambda: [None] * 2**58])
def test_a_machine_that_is_short_of_memory_makes_no_good_checkpoint_pass_for_damaged(tmp_path, monkeypatch, short):
    """By what torch and Python themselves raise for a petabyte and more."""
    for step in (1, 2):
        save(tmp_path, step)
    monkeypatch.setattr(torch, "load", lambda *_, **__: short())
    with pytest.raises((MemoryError, RuntimeError)) as raised:
        checkpoint.newest(tmp_path)
    assert not isinstance(raised.value, DataError)


def test_a_disk_that_fails_is_damage(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise OSError(errno.EIO, "Input/output error")

    for step in (1, 2):
        save(tmp_path, step)
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(DataError, match=r"(?s)none of its 2 checkpoints is whole.*000002\.pt.*Input/output error"):
        checkpoint.newest(tmp_path)


def without(key: str, part: str) -> dict:
    """A change that takes something out."""
    return {key: {name: value for name, value in CONTENT[key].items() if name != part}}


def put(key: str, **changes) -> dict:
    """A change of something within."""
    return {key: CONTENT[key] | changes}


def plates(channels: int = 1, **changes) -> dict:
    """A change to --normalise plate, measured in so many channels."""
    record = prepare_data.to_record(tiny())
    arrays = {name: array[:, :1].repeat_interleave(channels, 1) for name, array in record["arrays"].items()}
    return {"normalisation": record | {"arrays": arrays, "facts": record["facts"] | changes}}


BIAS = CONTENT["network"]["classify.bias"]


@pytest.mark.parametrize(("changes", "reason"), [
    ({"config": []}, "its config is not"),
    ({"step": "1"}, "its step is not"),
    ({"training": None}, "its training is not"),
    (without("config", "preset"), "its config preset is not"),
    (without("config", "head"), "its config readout is not"),
    (without("config", "sites"), "name the screen by exactly one of"),
    (put("config", sites=5), "its config sites is not"),
    (put("config", normalise="other"), "its config normalise is not"),
    (put("config", image_size="large"), "image-size must be HEIGHTxWIDTH"),
    (put("config", views=torch.zeros(2)), "its config views is not"),
    (without("split", "leaks"), "its split leaks is not"),
    (without("split", "trained"), "its split trained is not"),
    (put("split", trained={"compounds": ["y"], "mechanisms": [1]}), "its split trained mechanisms is not"),
    (put("split", sides=["train", "elsewhere"]), "its split sides is not"),
    (put("split", more=torch.zeros(1)), "Object of type Tensor is not JSON serializable"),
    ({"classes": ["a", 2]}, "its classes is not"),
    ({"classes": ["b", "a"]}, "its classes is not"),
    ({"classes": ["a", "a"]}, "its classes is not"),
    ({"classes": ["a", "\ud800"]}, "surrogates not allowed"),
    ({"classes": ["a", "b", "c"]}, "its network 'classify.weight' is not"),
    ({"channels": ["DNA", "RNA"], "normalisation": {"mode": "field", "mean": (), "sd": ()}}, "its network 'branches.0."),
    ({"image_size": [128]}, "not enough values to unpack"),
    ({"image_size": [100, 128]}, "fields of 100x128 pixels do not fit"),
    ({"image_size": [256, 128]}, "its network 'hidden.weight' is not"),
    ({"image_size": [2**20, 2**20]}, "its network 'hidden.weight' is not"),
    ({"image_size": [2**62, 2**62]}, "Overflow"),
    (without("network", "classify.bias"), "its network 'classify.bias' is not"),
    (put("network", **{"a\nb": BIAS}), r"its network 'a\nb' is not"),
    (put("network", **{"classify.bias": BIAS.double()}), "its network 'classify.bias' is not"),
    (put("network", **{"classify.bias": BIAS[None]}), "its network 'classify.bias' is not"),
    (put("network", **{"classify.bias": None}), "no attribute 'shape'"),
    (put("config", head_relu=None), "its config head_relu is not"),
    (put("normalisation", mean=(1.0, 2.0)), "its normalisation is not"),
    (put("normalisation", sd=("a",)), "its normalisation is not"),
    (put("normalisation", mode="other"), "its normalisation is not"),
    (put("normalisation", more=1), "unexpected keyword argument 'more'"),
    (plates(channels=2), "its normalisation is not"),
    (plates(size=[]), "its normalisation is not"),
    (plates(plates=[["P1"], ["P2"]]), "its normalisation facts plates is not"),
    (plates(format=9), "intensity record: format 9"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_what_anybody_can_make_is_refused_where_it_is_not_of_our_form(tmp_path, changes, reason):
    """Its digest is right; what it asks for, as a network for fields of a million pixels a side, is never allocated."""
    assert reason in refusal(forge(tmp_path / "forged.pt", **changes))


@pytest.mark.parametrize("changes", [{}, plates(), {"normalisation": {"mode": "field", "mean": (), "sd": ()}},
                                     without("config", "tta"), put("config", stop_after=1, foreign=2)],
                         ids=["whole", "plates", "fields", "fewer settings", "other settings"])
def test_what_is_of_our_form_is_read(tmp_path, changes):
    """Settings of other versions too."""
    assert checkpoint.load(forge(tmp_path / "whole.pt", **changes))["step"] == 1


def test_what_hangs_on_a_state_dict_is_dropped_as_no_digest_knows_of_it(tmp_path):
    network = OrderedDict(CONTENT["network"])
    network._metadata = 5  # load_state_dict would stumble over it
    network.clear_by = [1]
    path = tmp_path / "hung.pt"
    torch.save({"format": checkpoint.FORMAT, "sha256": checkpoint.digest(CONTENT), **CONTENT, "network": network}, path)
    network = checkpoint.load(path)["network"]
    assert not vars(network)
    MCNN(2, 1, 128, 128).load_state_dict(network)
