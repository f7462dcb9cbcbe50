"""The cache of the compiled kernel: what is not whole, or not its user's alone, is never loaded."""

import ctypes
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mscnn.core import machine
from mscnn.model import kernel, kernel_library
from tests.conftest import ROOT

GXX = shutil.which("g++") or shutil.which("c++")
pytestmark = pytest.mark.skipif(not GXX, reason="no C++ compiler; install g++")
SOURCE = 'extern "C" int answer() { return 42; }\n'


@pytest.fixture
def cache(tmp_path):
    (tmp_path / "source.cpp").write_text(SOURCE)
    return tmp_path / "cache"


def obtain(cache, compiler: str | None = GXX, flags=("-fPIC",)) -> tuple[ctypes.CDLL, str]:
    return kernel_library.obtain(cache.parent / "source.cpp", compiler, flags, cache)


def made(cache):
    assert obtain(cache)[0].answer() == 42
    (path,) = cache.iterdir()
    return path


def test_it_is_compiled_once_for_its_user_alone(cache):
    path = made(cache)
    assert (cache.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
    before = path.stat()
    library, where = obtain(cache)
    assert (library.answer(), where) == (42, str(path))
    assert path.stat() == before or path.stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("damage", ["empty", "cut", "half", "bit", "other", "folder", "link", "group writes", "all write"])
def test_a_file_that_is_not_whole_or_not_ours_is_compiled_again(cache, damage, tmp_path):
    path = made(cache)
    raw = path.read_bytes()
    flipped = raw[:500] + bytes([raw[500] ^ 1]) + raw[501:]
    if damage in ("group writes", "all write"):
        path.chmod(0o620 if damage == "group writes" else 0o602)
    else:
        path.unlink()
        if damage == "folder":
            path.mkdir()
        elif damage == "link":
            (tmp_path / "planted.so").write_bytes(raw)
            path.symlink_to(tmp_path / "planted.so")
        else:
            path.write_bytes({"empty": b"", "cut": raw[:100], "half": raw[:len(raw) // 2], "bit": flipped,
                              "other": b"x" * len(raw)}[damage])
    library, where = obtain(cache)
    assert library.answer() == 42
    assert "compiled again" in where or damage == "folder"
    if damage != "folder":  # cannot be replaced by a file: this process compiles for itself
        (path,) = cache.iterdir()
        assert (path.is_symlink(), path.stat().st_mode & 0o022) == (False, 0)
        assert kernel_library._verified(path) is not None


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o722])
def test_a_folder_that_others_can_write_is_not_used(cache, mode):
    path = made(cache)
    before = path.stat().st_mtime_ns
    cache.chmod(mode)
    library, where = obtain(cache)
    assert library.answer() == 42
    assert where == f"compiled for this process alone: others can write {cache}; change that with chmod 700"
    assert [one.stat().st_mtime_ns for one in cache.iterdir()] == [before]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_belongs_to_another_user_is_not_used(cache):
    path = made(cache)
    os.chown(path, 65534, 65534)
    assert "compiled again" in obtain(cache)[1]
    (path,) = cache.iterdir()
    assert path.stat().st_uid == 0
    os.chown(cache, 65534, 65534)
    assert obtain(cache)[1] == f"compiled for this process alone: {cache} belongs to another user (id 65534)"


def test_what_it_depends_on_is_in_its_name(cache, monkeypatch):
    names = {made(cache).name}
    obtain(cache, flags=("-fPIC", "-O1"))
    monkeypatch.setattr(machine, "feature_flags", lambda: frozenset({"another"}))
    obtain(cache)
    monkeypatch.setattr(kernel_library.torch, "__version__", "0")
    obtain(cache)
    wrapper = cache.parent / "g++"
    for version in (1, 2):
        wrapper.write_text(f'#!/bin/sh\ntest "$1" = --version && echo {version} && exit\nexec {GXX} "$@"\n')
        wrapper.chmod(0o700)
        obtain(cache, str(wrapper))
    names |= {path.name for path in cache.iterdir()}
    assert len({tuple(name.split("-")[1:3]) for name in names}) == len(names) == 6


def test_a_node_without_a_compiler_takes_the_library_of_one_that_has_it(cache):
    path = made(cache)
    for compiler in (None, "no-such-compiler"):
        library, where = obtain(cache, compiler)
        assert (library.answer(), where) == (42, str(path))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(kernel_library.BuildError, match="no-such-compiler cannot be run"):
        obtain(cache, "no-such-compiler")


def test_a_compiler_that_hangs_is_ended_with_all_that_it_started(cache, monkeypatch):
    monkeypatch.setattr(kernel_library, "LIMIT", 0.5)
    wrapper, mark = cache.parent / "g++", f"{time.time_ns() % 10**6 + 10**6}"
    wrapper.write_text(f'#!/bin/sh\ntest "$1" = --version && exit\nsleep {mark}\n')
    wrapper.chmod(0o700)
    with pytest.raises(kernel_library.BuildError, match=r"g\+\+ took more than 0 s and was ended"):
        obtain(cache, str(wrapper))
    assert mark not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert list(cache.iterdir()) == []
    assert obtain(cache)[0].answer() == 42  # nothing remembers the failure


@pytest.mark.parametrize(("script", "words"), [
    ("exit 3", "--version failed"), ('test "$1" = --version && exit; echo nope; exit 1', "failed: nope"),
    ('test "$1" = --version && exit; exit 0', "failed: exit code 0"), ("kill -9 $$", "--version failed")])
def test_a_compiler_that_fails_is_said_in_a_line(cache, script, words):
    wrapper = cache.parent / "g++"
    wrapper.write_text(f"#!/bin/sh\n{script}\n")
    wrapper.chmod(0o700)
    with pytest.raises(kernel_library.BuildError, match=words) as refusal:
        obtain(cache, str(wrapper))
    assert "\n" not in str(refusal.value)


def test_a_failure_is_tried_again_after_a_while(tmp_path, monkeypatch):
    tries = []

    def fails(*arguments):
        tries.append(arguments)
        raise kernel_library.BuildError("no luck")
    monkeypatch.setattr(kernel_library, "obtain", fails)
    monkeypatch.setattr(kernel.torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    kernel._library.cache_clear()
    kernel._retry_at.cache_clear()
    try:
        assert [kernel.available() for _ in range(3)] == [(False, "no luck")] * 3
        assert len(tries) == 1
        monkeypatch.setattr(kernel, "RETRY", -1.0)
        kernel._retry_at.cache_clear()
        assert not kernel.available()[0]
        assert len(tries) == 2
    finally:
        kernel._library.cache_clear()
        kernel._retry_at.cache_clear()


def test_two_that_compile_at_once_leave_one_whole_file(cache):
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: obtain(cache), range(3)))
    assert [library.answer() for library, _ in found] == [42] * 3
    assert all(kernel_library._verified(path) for path in cache.iterdir())


def test_a_system_that_forbids_libraries_in_memory_gets_a_file_of_its_own(cache, monkeypatch):
    def forbidden(name):
        raise OSError(1, "no")
    monkeypatch.setattr(os, "memfd_create", forbidden)
    assert obtain(cache)[0].answer() == 42


def test_a_file_that_is_cut_short_while_it_is_loaded_ends_nothing(cache):
    path = made(cache)
    script = ("import os, sys\nfrom pathlib import Path\nfrom mscnn.model import kernel_library\n"
              "library, where = kernel_library.obtain(Path(sys.argv[1]), sys.argv[2], ('-fPIC',), Path(sys.argv[3]))\n"
              "os.truncate(where, 0)\nprint(library.answer())\n")
    done = subprocess.run([sys.executable, "-c", script, cache.parent / "source.cpp", GXX, cache], cwd=ROOT, text=True,
                          capture_output=True)
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
    assert path.stat().st_size == 0
