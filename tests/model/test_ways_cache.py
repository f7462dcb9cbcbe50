"""Times in the user's cache: those of this machine and code are taken, anything else is measured again and said."""

import json
import os
import re

import pytest
import torch

from mscnn.core import machine
from mscnn.model import kernel, ways_cache
from mscnn.model.acceleration import Acceleration
from mscnn.model.ways import DENSE, SPARSE

WAYS = [[SPARSE, DENSE], [DENSE]]
TIMES, OTHER = [{SPARSE: 1.5, DENSE: None}, {DENSE: 2.0}], [{SPARSE: 9.0, DENSE: 1.0}, {DENSE: 9.0}]


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def key(**changed) -> dict:
    """The key of 512x640, 3 channels, float32."""
    asked = {"channels": 3, "height": 512, "width": 640, "acceleration": Acceleration(), "keeps_memory": True} | changed
    return ways_cache.key(asked.pop("candidates", WAYS), **asked)


def obtain(times=TIMES, **changed) -> tuple[list, str]:
    return ways_cache.obtain(key(**changed), lambda: times)


def test_times_are_measured_once_and_kept_for_their_user_alone(cache):
    times, why = obtain()
    (path,) = cache.iterdir()
    assert (times, why) == (TIMES, f"measured: {path}")
    assert (cache.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
    assert obtain(OTHER) == (TIMES, f"measured before: {path}")


def test_all_that_times_depend_on_has_a_file_of_its_own(cache, monkeypatch):
    obtain()
    changes = ({"channels": 4}, {"height": 1024}, {"width": 512}, {"acceleration": Acceleration("bfloat16")},
               {"keeps_memory": False}, {"candidates": [[DENSE], [DENSE]]})
    for number, change in enumerate(changes):
        measured = [{DENSE: 1.0 + number}, {DENSE: 1.0}] if "candidates" in change else OTHER
        assert obtain(measured, **change)[0] == measured
    for place, name, value in ((machine, "cpu_model", lambda: "another"), (torch, "__version__", "0"),
                               (machine, "feature_flags", lambda: frozenset({"another"})),
                               (torch, "get_num_threads", lambda: 99), (ways_cache, "code_digest", lambda: "another"),
                               (torch.backends.cpu, "get_cpu_capability", lambda: "another")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, value)
            assert obtain(OTHER)[0] == OTHER, name
    assert len(list(cache.iterdir())) == 1 + len(changes) + 6
    assert obtain(OTHER)[0] == TIMES


def test_the_code_is_the_kernel_and_its_flags(tmp_path, monkeypatch):
    names = ("kernel.py", "cpp/branch.cpp", "cpp/winograd.h")
    (tmp_path / "cpp").mkdir()
    for name in names:
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(ways_cache, "__file__", str(tmp_path / "ways_cache.py"))
    digests = {ways_cache.code_digest()}
    for name in names:
        (tmp_path / name).write_text("another")
        digests.add(ways_cache.code_digest())
    assert len(digests) == 4


def damaged(raw: bytes, **changed) -> bytes:
    return json.dumps(json.loads(raw) | changed).encode()


def of_another_key(raw: bytes) -> bytes:
    content = json.loads(raw)
    return json.dumps(content | {"key": content["key"] | {"cpu": "another"}}).encode()


CONTENTS = {
    "empty": (lambda raw: b"", "Expecting value"), "cut": (lambda raw: raw[:100], "Expecting"),
    "half": (lambda raw: raw[:len(raw) // 2], "Expecting"), "binary": (lambda raw: b"\xff\xfe" * 50, "codec can't decode"),
    "large": (lambda raw: raw + b" " * ways_cache.LARGEST, "bytes"),
    "nested": (lambda raw: b"[" * 20000, "nested|recursion"),
    "no object": (lambda raw: b"[1]", "not an object"), "another machine": (of_another_key, "it has another cpu"),
    "another key": (lambda raw: damaged(raw, key={}), "it has another cpu"),
    "another format": (lambda raw: damaged(raw, format=2), "format is 2"),
    "not finite": (lambda raw: raw.replace(b"1.5", b"NaN"), "finite"),
    "negative": (lambda raw: raw.replace(b"1.5", b"-1.5"), "0 or more"),
    "text": (lambda raw: damaged(raw, milliseconds="x"), "milliseconds"),
    "other ways": (lambda raw: damaged(raw, milliseconds=[{DENSE: 1.0}, {DENSE: 1.0}]), "times of other ways"),
    "no branches": (lambda raw: damaged(raw, milliseconds=[]), "times of other ways"),
    "no time": (lambda raw: damaged(raw, milliseconds=[{SPARSE: None, DENSE: None}, {DENSE: 1.0}]), "lacks the times"),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_a_file_that_does_not_fit_is_measured_again_and_replaced(cache, name):
    change, reason = CONTENTS[name]
    obtain()
    (path,) = cache.iterdir()
    path.write_bytes(change(path.read_bytes()))
    times, why = obtain(OTHER)
    assert times == OTHER
    assert why.startswith("measured again, as the file there was no good (")
    assert why.endswith(f"): {path}")
    assert len(why) < len(str(path)) + 200
    assert re.search(reason, why), why
    assert "\n" not in why
    assert obtain(TIMES) == (OTHER, f"measured before: {path}")


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_can_write_is_measured_again_and_replaced(cache, mode):
    obtain()
    (path,) = cache.iterdir()
    path.chmod(mode)
    assert obtain(OTHER) == (OTHER, f"measured again, as the file there was no good (others can write it): {path}")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_is_not_followed_and_replaced(cache, tmp_path):
    obtain()
    (path,) = cache.iterdir()
    planted = path.rename(tmp_path / "planted")
    path.symlink_to(planted)
    times, why = obtain(OTHER)
    assert (times, "no good (Too many levels of symbolic links)" in why) == (OTHER, True)
    assert not path.is_symlink()
    assert json.loads(planted.read_text())["milliseconds"] == TIMES


def test_a_folder_in_its_place_is_said_and_not_fatal(cache):
    obtain()
    (path,) = cache.iterdir()
    path.unlink()
    path.mkdir()
    for times in (OTHER, TIMES):
        assert obtain(times) == (times, f"measured for this start alone: {path} cannot be written (Is a directory)")


def test_a_cache_that_cannot_be_used_is_said_and_not_fatal(cache, monkeypatch):
    obtain()
    (path,) = cache.iterdir()
    cache.chmod(0o777)
    assert obtain(OTHER) == (OTHER, f"measured for this start alone: others can write {cache}; change that with chmod 700")
    assert json.loads(path.read_text())["milliseconds"] == TIMES
    cache.chmod(0o700)
    (cache.parent / "file").write_text("")
    monkeypatch.setattr(kernel, "CACHE", cache.parent / "file" / "cache")
    times, why = obtain(OTHER)
    assert (times, "measured for this start alone: " in why, "cannot be used" in why) == (OTHER, True, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_belongs_to_another_user_is_not_used(cache):
    obtain()
    (path,) = cache.iterdir()
    os.chown(path, 65534, 65534)
    assert "others can write it" in obtain(OTHER)[1]
    os.chown(cache, 65534, 65534)
    assert obtain(TIMES) == (TIMES, f"measured for this start alone: {cache} belongs to another user (id 65534)")


def test_a_full_disk_is_said_and_not_fatal(cache, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(ways_cache, "write_own", full)
    times, why = obtain()
    assert (times, why.endswith("cannot be written (No space left on device)")) == (TIMES, True)
