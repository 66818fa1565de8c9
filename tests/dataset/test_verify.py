"""`prepare verify`: a set against lists as other tools write them, and against what is known of published sets."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import published
from preparing import refused, run
from thorax.dataset.checksum_lists import Listed, list_text, read_list
from thorax.dataset.known_sets import SETS

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """set/ with three files, one with a strange name, and a cache of its own."""
    monkeypatch.setenv("THORAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for name, text in (("a.png", "one"), ("sub/b c.png", "two"), ("sub/notes.txt", "three")):
        Path("set", name).parent.mkdir(parents=True, exist_ok=True)
        Path("set", name).write_text(text)
    return Path("set")


def said(capsys: Capture, *words: object) -> tuple[int, list[str]]:
    """(exit code, lines) of verify."""
    capsys.readouterr()
    code = run("verify", *words)
    return code, capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("tool", ["md5sum", "sha1sum", "sha256sum", "sha512sum"])
def test_lists_of_other_tools_and_ours_are_the_same(tool: str, folder: Path, capsys: Capture) -> None:
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    theirs = subprocess.run([tool, *names], cwd=folder, capture_output=True, text=True, check=True).stdout
    file = Path(f"list.{tool.removesuffix('sum')}")
    assert run("verify", folder, "--make", file) == 0
    assert file.read_text() == theirs
    code, lines = said(capsys, folder, "--list", file)
    assert code == 0 and lines[-1].startswith("set: 3 files of the list, whole; 0 hashed now")
    assert subprocess.run([tool, "-c", f"../{file}"], cwd=folder, capture_output=True).returncode == 0


def test_a_line_for_each_kind_of_trouble(folder: Path, capsys: Capture) -> None:
    run("verify", folder, "--make", "l.csv")
    (folder / "a.png").write_text("ONE")
    (folder / "sub/notes.txt").unlink()
    (folder / "new.png").write_text("new")
    (folder / ".hidden").write_text("x")
    code, lines = said(capsys, folder, "--list", "l.csv", "--json", "r.json")
    assert (code, lines) == (
        1,
        [
            "missing: 1 file: sub/notes.txt",
            "other bytes: 1 file: a.png",
            "extra: 1 file that no list names: new.png",
            "set: 2 files of the list, not whole; 1 hashed now (3 bytes); 1 unchanged since before",
        ],
    )
    found = json.loads(Path("r.json").read_text())
    assert found["troubles"] == {"missing": ["sub/notes.txt"], "other bytes": ["a.png"], "extra": ["new.png"]}
    code, lines = said(capsys, folder, "--list", "l.csv", "--partial")
    assert code == 1 and lines[0] == "note: 1 of 3 listed files are not here, as --partial says"


def test_what_no_list_names_is_no_failure(folder: Path, capsys: Capture) -> None:
    run("verify", folder, "--make", "l.sha256")
    (folder / "new.txt").write_text("new")
    code, lines = said(capsys, folder, "--list", "l.sha256")
    assert code == 0 and lines[0] == "extra: 1 file that no list names: new.txt"


def test_another_size_is_found_without_reading(folder: Path, capsys: Capture) -> None:
    Path("sizes.csv").write_text("File,Bytes\na.png,3\nsub/b c.png,4\nsub/notes.txt,5\n")
    code, lines = said(capsys, folder, "--list", "sizes.csv")
    assert code == 1 and lines == ["other bytes: 1 file: sub/b c.png", "set: 3 files of the list, not whole"]


def test_a_run_that_was_stopped_goes_on_and_a_changed_file_is_read_again(folder: Path, capsys: Capture) -> None:
    Path("l.sha256").write_text(
        "".join(
            f"{hashlib.sha256(path.read_bytes()).hexdigest()} *{path.relative_to(folder)}\n"
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        )
    )
    assert said(capsys, folder, "--list", "l.sha256", "--threads", 2)[1][-1].endswith(
        "3 hashed now (11 bytes); 0 unchanged since before"
    )
    (cache,) = Path("cache/verify").iterdir()
    cache.write_text("".join(cache.read_text().splitlines(keepends=True)[:2]) + "sha256 3 17")  # torn by a kill
    assert said(capsys, folder, "--list", "l.sha256")[1][-1].endswith("2 unchanged since before")
    os.utime(folder / "a.png", ns=(1, 1))
    assert "1 hashed now (3 bytes); 2 unchanged since before" in said(capsys, folder, "--list", "l.sha256")[1][-1]
    assert "3 hashed now" in said(capsys, folder, "--list", "l.sha256", "--anew")[1][-1]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("d41d8cd98f00b204e9800998ecf8427e  a.png\n", ["a.png"]),
        ("D41D8CD98F00B204E9800998ECF8427E *./x/a b.png\r\n# comment\r\n\r\n", ["x/a b.png"]),
        ("MD5 (x/a.png) = d41d8cd98f00b204e9800998ecf8427e\n", ["x/a.png"]),
        ("\\d41d8cd98f00b204e9800998ecf8427e  a\\nb.png\n", ["a\nb.png"]),
        ("d41d8cd98f00b204e9800998ecf8427e  sub\\a.png\n", ["sub/a.png"]),
        ("path,md5\na.png,d41d8cd98f00b204e9800998ecf8427e\n", ["a.png"]),
        ("name;sha-1;size\nx.png;da39a3ee5e6b4b0d3255bfef95601890afd80709;0\n", ["x.png"]),
        ("Image Index,Finding Labels\n1.png,Mass|Edema\n2.png,\n", ["1.png", "2.png"]),
        ("\ufeff00000001_000.png\n00000001_001.png\n", ["00000001_000.png", "00000001_001.png"]),
        ("fe8ed0a6961412fddcbb3603c11b3698 images_001.tar.gz\n", ["images_001.tar.gz"]),
    ],
)
def test_forms_of_a_list(text: str, names: list[str], tmp_path: Path) -> None:
    file = tmp_path / "list"
    file.write_bytes(text.encode())
    assert [one.path for one in read_list(file)] == names


def test_a_name_with_a_line_break_comes_back(tmp_path: Path) -> None:
    entry = Listed("a\nb.png", "md5", "d41d8cd98f00b204e9800998ecf8427e", None)
    file = tmp_path / "l.md5"
    file.write_text(list_text([entry], table=False))
    assert read_list(file) == [entry]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "l lists no file"),
        ("d41d8cd98f00b204e9800998ecf8427e  /etc/passwd\n", "l: line 1: '/etc/passwd' is no path below a folder"),
        ("d41d8cd98f00b204e9800998ecf8427e  ../a\n", "l: line 1: '../a' is no path below a folder"),
        ("d41d8cd98f00b204e9800998ecf8427e  a\nb.png\n", "l: line 2 has no checksum, others have"),
        (f"{'0' * 32}  a\n{'1' * 32}  a\n", "l: lines 1 and 2 say two things of a"),
        (f"{'0' * 33}  a\n", f"l: line 1: '{'0' * 33}' is no checksum of md5"),
        ("path,md5\na.png,zz\n", "l: line 2: 'zz' is no checksum of md5"),
        ("path,size\na.png,big\n", "l: line 2: 'big' is no number of bytes"),
        ("path,md5,size\na.png\n", "l: line 2 has 1 cells, the header has 3"),
        (b"\xff\xfe\x00", "l is no list of names: it is not text in UTF-8"),
        ("nowhere.png\n", "none of the 1 listed files is in set, e.g. nowhere.png"),
    ],
)
def test_lists_that_are_refused(text: str | bytes, message: str, folder: Path, capsys: Capture) -> None:
    Path("l").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert refused(capsys, "verify", folder, "--list", "l").startswith(f"error: {message}")


def test_flags_that_are_refused(folder: Path, capsys: Capture) -> None:
    for words, message in (
        ([], "what is set to be held against? Give --list FILE, or --set NAME (kaggle-pneumonia"),
        (["--set", "x"], "--set x must be one of kaggle-pneumonia, chestxray14"),
        (["--set", "rsna", "--make", "l"], "--set and --make: choose one"),
        (["--make", "l", "--partial"], "--partial with --make"),
        (["--threads", "0", "--make", "l"], "--threads 0 is out of range"),
    ):
        assert message in refused(capsys, "verify", folder, *words)
    assert "nowhere is no folder" in refused(capsys, "verify", "nowhere", "--set", "rsna")
    assert "s3://bucket/x is no folder of this machine" in refused(capsys, "verify", "s3://bucket/x", "--set", "rsna")


def test_the_list_that_a_set_comes_with_is_found(folder: Path, capsys: Capture) -> None:
    run("verify", folder, "--make", "set/SHA256SUMS.txt")
    code, lines = said(capsys, folder)
    assert code == 0 and lines[0] == "note: list: set/SHA256SUMS.txt" and len(lines) == 2


def test_paths_that_begin_above_the_folder_and_names_without_folders(folder: Path, capsys: Capture) -> None:
    sums = {path: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}
    Path("l.md5").write_text("".join(f"{digest}  data/{path}\n" for path, digest in sums.items()))
    code, lines = said(capsys, folder, "--list", "l.md5")
    assert code == 0 and lines[0].startswith("note: listed paths begin above set: data/set/")
    Path("l.md5").write_text("".join(f"{digest}  {path.name}\n" for path, digest in sums.items()))
    assert said(capsys, folder, "--list", "l.md5")[0] == 0
    shutil.copytree("set/sub", "set/twice")
    assert "lies in several: sub/" in refused(capsys, "verify", folder, "--list", "l.md5")


def test_a_file_that_cannot_be_read(folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    run("verify", folder, "--make", "l.md5")
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *words, **more: _denied(real, self, *words, **more))
    code, lines = said(capsys, folder, "--list", "l.md5", "--anew")
    assert code == 1 and lines[0] == "unreadable: 1 file: a.png"


def _denied(real: Callable[..., object], path: Path, *words: object, **more: object) -> object:
    if path.name == "a.png":
        raise PermissionError(13, "Permission denied", str(path))
    return real(path, *words, **more)


# -- Published sets ----------------------------------------------------------------------------------------------------

IMITATED = {
    "chexpert": "chexpert",
    "mimic-cxr": "mimic_cxr",
    "padchest": "padchest",
    "rsna": "rsna",
    "vindr": "vindr-physionet",
    "nih-sample": "nih-sample",
}


@pytest.mark.parametrize("name", IMITATED)
def test_images_that_a_published_table_names(name: str, tmp_path: Path, capsys: Capture) -> None:
    published.SETS[IMITATED[name]][1](tmp_path)
    code, lines = said(capsys, tmp_path, "--set", name, "--partial")
    assert code == 0 and lines[-1].endswith(" files of the list, whole"), lines
    code, lines = said(capsys, tmp_path, "--set", name)
    assert code == (1 if SETS[name].counts else 0)
    victim = next(path for path in sorted(tmp_path.rglob("*")) if path.suffix in (".jpg", ".png", ".dcm", ".dicom"))
    victim.rename(victim.with_name(f"stray{victim.suffix}"))
    code, lines = said(capsys, tmp_path, "--set", name)
    assert code == 1
    assert lines[0].startswith("missing: 1 file: ") and victim.name in lines[0]
    assert lines[-2].startswith("extra: 1 file that no list names: ") and "stray" in lines[-2]


def test_counts_of_the_kaggle_set_folder_by_folder(tmp_path: Path, capsys: Capture) -> None:
    for k, (part, count) in enumerate(list(SETS["kaggle-pneumonia"].counts.items())[1:]):
        folder = tmp_path / "chest_xray" / part
        folder.mkdir(parents=True)
        for i in range(count):
            (folder / f"{k}_{i}.jpeg").touch()
    assert said(capsys, tmp_path, "--set", "kaggle-pneumonia")[0] == 0
    (tmp_path / "chest_xray/val/NORMAL/2_3.jpeg").unlink()
    code, lines = said(capsys, tmp_path, "--set", "kaggle-pneumonia")
    assert code == 1
    assert lines[:-1] == ["count: 5,855 images, published are 5,856", "count: 7 images in val/NORMAL, published are 8"]


def test_published_md5_of_archives(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "images_001.tar.gz").write_bytes(b"cut short")
    code, lines = said(capsys, tmp_path, "--set", "chestxray14-archives", "--partial")
    assert code == 1 and lines[1] == "other bytes: 1 file: images_001.tar.gz"


def test_a_set_without_its_table_or_images(tmp_path: Path, capsys: Capture) -> None:
    assert "has no image of RSNA" in refused(capsys, "verify", tmp_path, "--set", "rsna")
    (tmp_path / "00000001_000.png").touch()
    message = refused(capsys, "verify", tmp_path, "--set", "chestxray14")
    assert "there is no table that names the images of NIH ChestX-ray14: Data_Entry_2017" in message
    (tmp_path / "Data_Entry_2017.csv").write_text("a,b\n1,2\n")
    assert "has no column Image Index" in refused(capsys, "verify", tmp_path, "--set", "chestxray14")


@pytest.mark.realdata
def test_the_real_files(realdata: Path, capsys: Capture) -> None:
    manifest = realdata / "kaggle_chest_xray_manifest.csv"
    assert said(capsys, realdata / "kermany_native", "--list", manifest, "--partial")[0] == 0
    assert said(capsys, realdata / "nih14", "--set", "chestxray14", "--partial")[0] == 0
    with manifest.open(newline="") as text:
        assert sum(1 for _ in csv.reader(text)) - 1 == SETS["kaggle-pneumonia"].counts[""]
