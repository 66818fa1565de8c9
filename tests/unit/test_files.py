"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thorax.errors import ThoraxError
from thorax.files import write_whole


def fails_with(code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    return fail


@settings(deadline=None)
@given(st.binary(max_size=5000))
def test_what_is_written_is_what_is_read(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp()
    write_whole(data, folder / "a.bin", "thing")
    assert (folder / "a.bin").read_bytes() == data
    write_whole(memoryview(data), folder / "a.bin", "thing")
    assert (folder / "a.bin").read_bytes() == data


def test_it_replaces_what_was_there_and_leaves_nothing_else(tmp_path):
    file = tmp_path / "state.pt"
    file.write_bytes(b"old and longer")
    write_whole(b"new", file, "checkpoint")
    assert file.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [file]


def test_the_content_is_on_the_disk_before_the_name_changes_and_the_name_is_then_too(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace

    def logged_fsync(handle):
        order.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "content")
        fsync(handle)

    def logged_replace(source, target):
        order.append("name")
        assert open(source, "rb").read() == b"new"  # noqa: SIM115
        replace(source, target)

    monkeypatch.setattr(os, "fsync", logged_fsync)
    monkeypatch.setattr(os, "replace", logged_replace)
    write_whole(b"new", tmp_path / "state.pt", "checkpoint")
    assert order == ["content", "name", "folder"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize(("code", "advice"), [(errno.ENOSPC, "free some space"), (errno.EDQUOT, "free some space"), (errno.EROFS, "make it writable")])
def test_a_write_that_fails_leaves_the_old_file_alone_and_says_what_to_do(tmp_path, monkeypatch, step, code, advice):
    file = tmp_path / "state.pt"
    file.write_bytes(b"old")
    monkeypatch.setattr(os, step, fails_with(code))
    with pytest.raises(ThoraxError) as caught:
        write_whole(b"x" * 2**21, file, "checkpoint")
    monkeypatch.undo()
    assert str(caught.value) == f"checkpoint cannot be saved in {tmp_path}: {os.strerror(code)}; 2.0 MiB are needed; {advice} and run again"
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_write_after_one_that_was_killed_half_way_is_whole(tmp_path):
    (tmp_path / ".state.pt.partial").write_bytes(b"torn" * 1000)
    write_whole(b"new", tmp_path / "state.pt", "checkpoint")
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    assert (tmp_path / "state.pt").read_bytes() == b"new"


@pytest.mark.parametrize("folder", ["missing", "file", "/proc"])
def test_a_folder_that_cannot_be_written_is_a_users_error(tmp_path, folder):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ThoraxError, match=r"history cannot be saved in .*make it writable and run again"):
        write_whole(b"x", tmp_path / folder / "a.csv", "history")


def test_a_folder_in_place_of_the_file_is_a_users_error(tmp_path):
    (tmp_path / "metrics.json").mkdir()
    with pytest.raises(ThoraxError, match="metrics cannot be saved in"):
        write_whole(b"x", tmp_path / "metrics.json", "metrics")
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
