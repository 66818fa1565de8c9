"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import ROOT
from thorax import files
from thorax.errors import ThoraxError
from thorax.files import check_output, open_whole, source_file, write_whole


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
@pytest.mark.parametrize(
    ("code", "advice"),
    [(errno.ENOSPC, "free some space"), (errno.EDQUOT, "free some space"), (errno.EROFS, "make its folder writable")],
)
def test_a_write_that_fails_leaves_the_old_file_alone_and_says_what_to_do(tmp_path, monkeypatch, step, code, advice):
    file = tmp_path / "state.pt"
    file.write_bytes(b"old")
    monkeypatch.setattr(os, step, fails_with(code))
    with pytest.raises(ThoraxError) as caught:
        write_whole(b"x" * 2**21, file, "checkpoint")
    monkeypatch.undo()
    assert (
        str(caught.value)
        == f"checkpoint cannot be saved in {file}: {os.strerror(code)}; 2.0 MiB are needed; {advice} and run again"
    )
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_write_after_one_that_was_killed_half_way_is_whole(tmp_path):
    (tmp_path / ".state.pt.partial").write_bytes(b"torn" * 1000)
    write_whole(b"new", tmp_path / "state.pt", "checkpoint")
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
    assert (tmp_path / "state.pt").read_bytes() == b"new"


def test_a_planted_link_is_not_followed(tmp_path):
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / ".state.pt.partial").symlink_to("precious")
    write_whole(b"new", tmp_path / "state.pt", "checkpoint")
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["precious", "state.pt"]
    assert not (tmp_path / "state.pt").is_symlink()


def test_two_that_write_one_file_at_once_leave_it_whole(tmp_path):
    """The second one's file is whole; the first, whose temporary file is gone, is told so."""

    def first() -> None:
        with open_whole(tmp_path / "a", "thing") as out:
            out.write(b"first")
            (tmp_path / ".a.partial").unlink()
            (tmp_path / ".a.partial").write_bytes(b"half of the second")

    with pytest.raises(ThoraxError, match="another program writes it too; wait for it"):
        first()
    write_whole(b"whole", tmp_path / "a", "thing")
    assert (tmp_path / "a").read_bytes() == b"whole"


@pytest.mark.parametrize(("private", "mode"), [(True, 0o600), (False, 0o644)])
def test_a_private_file_is_its_owners_alone(tmp_path, private, mode):
    before = os.umask(0o022)
    try:
        write_whole(b"p0", tmp_path / "table.csv", "table", private=private)
    finally:
        os.umask(before)
    assert (tmp_path / "table.csv").stat().st_mode & 0o777 == mode


def test_a_name_as_long_as_names_may_be(tmp_path):
    file = tmp_path / ("n" * 251 + ".csv")
    write_whole(b"whole", file, "table")
    assert file.read_bytes() == b"whole"
    with pytest.raises(ThoraxError, match="File name too long; choose a shorter name and run again"):
        write_whole(b"whole", tmp_path / ("n" * 256), "table")


@pytest.mark.parametrize(
    ("folder", "advice"), [("missing", "make its folder and"), ("file", "name a file in a folder and")]
)
def test_a_folder_that_cannot_be_written_is_a_users_error(tmp_path, folder, advice):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(
        ThoraxError, match=rf"history cannot be saved in {tmp_path}/{folder}/a.csv: .*; {advice} run again"
    ):
        write_whole(b"x", tmp_path / folder / "a.csv", "history")


def test_a_folder_in_place_of_the_file_is_a_users_error(tmp_path):
    (tmp_path / "metrics.json").mkdir()
    with pytest.raises(
        ThoraxError, match=r"metrics cannot be saved in .*/metrics.json: Is a directory; name a file and run again"
    ):
        write_whole(b"x", tmp_path / "metrics.json", "metrics")
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_an_output_is_checked_before_it_is_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    check_output(tmp_path / "new" / "a.csv", "--csv")
    assert (tmp_path / "new").is_dir()
    for file, told in (
        (tmp_path, "is a folder; name a file, such as"),
        (tmp_path / "file" / "a.csv", "its folder cannot be made: "),
    ):
        with pytest.raises(ThoraxError, match=f"--csv {file}:? {told}"):
            check_output(file, "--csv")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(ThoraxError, match="its folder cannot be written; make it writable"):
        check_output(tmp_path / "a.csv", "--csv")


# -- Files of source_dir -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["inference.py", "deployment.py", "thorax"])
def test_in_a_checkout_the_entry_scripts_lie_beside_the_package(name):
    assert source_file(name) == ROOT / "source_dir" / name


def test_an_installed_package_holds_copies_of_the_entry_scripts(tmp_path, monkeypatch):
    (tmp_path / "thorax" / "_source").mkdir(parents=True)
    monkeypatch.setattr(files, "__file__", str(tmp_path / "thorax" / "files.py"))
    with pytest.raises(ThoraxError, match=r"inference.py is neither beside .*thorax nor in .*_source"):
        source_file("inference.py")
    copy = tmp_path / "thorax" / "_source" / "inference.py"
    copy.write_bytes(b"")
    assert source_file("inference.py") == copy
    assert source_file("thorax") == tmp_path / "thorax"
