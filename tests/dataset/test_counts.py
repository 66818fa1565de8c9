"""`prepare split` by number of images, and `prepare list` of some: whole patients, exact counts, one line of errors."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from thorax.dataset.__main__ import main
from thorax.dataset.counts import PartSize
from thorax.errors import ThoraxError


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A: 30 images of 30 patients; B: 12 images of 6 patients with two each."""
    root = tmp_path_factory.mktemp("counts")
    rows = [(f"a{k}.png", f"p{k}", "A") for k in range(30)] + [(f"b{k}.png", f"q{k // 2}", "B") for k in range(12)]
    for name, _, _ in rows:
        Image.new("L", (8, 8)).save(root / name)
    text = "path,patient,label\n" + "".join(",".join(row) + "\n" for row in rows)
    (root / "table.csv").write_text(text)
    return root


def split(images: Path, out: Path, *words: str) -> tuple[int, list[dict[str, str]]]:
    code = main(["split", str(images), "--out", str(out), *words])
    with out.open() if out.exists() else open("/dev/null") as file:
        return code, list(csv.DictReader(file))


def test_so_many_of_every_class(images: Path, tmp_path: Path) -> None:
    code, rows = split(images, tmp_path / "s.csv", "--validation", "4/class", "--test", "6")
    assert code == 0
    parts = Counter(row["part"] for row in rows)
    assert parts == {"train": 28, "validation": 8, "test": 6}
    kinds = Counter(Path(row["id"]).name[0] for row in rows if row["part"] == "validation")
    assert kinds == {"a": 4, "b": 4}
    owner: dict[str, set[str]] = {}
    for row in rows:
        owner.setdefault(row["patient"], set()).add(row["part"])
    assert all(len(found) == 1 for found in owner.values())
    first = (tmp_path / "s.csv").read_text()
    split(images, tmp_path / "again.csv", "--validation", "4 per class", "--test", "6")
    assert (tmp_path / "again.csv").read_text() == first


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--validation", "12/class", "--test", "0"], "12 images of B are asked for, of 12 that there are; some"),
        (["--validation", "3/class", "--test", "0"], "3 of every class cannot be made of whole patients: reached are"),
        (["--validation", "0.7"], "--validation 0.7 is out of range; choose 0 to 0.5 (a share), or a number of images"),
        (["--validation", "many"], "--validation many is out of range"),
        (["--test", "-3"], "--test -3 is out of range"),
        (["--test", "100"], "test: 100 images in all are asked for, of 42 that there are"),
    ],
)
def test_what_cannot_be_is_one_line(
    words: list[str], message: str, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        split(images, tmp_path / "s.csv", *[f"{a}={b}" for a, b in zip(words[::2], words[1::2], strict=True)])[0] == 1
    )
    assert message in capsys.readouterr().err
    assert not (tmp_path / "s.csv").exists()


def test_sizes_read_as_people_write_them() -> None:
    assert PartSize.read("--test", "60/class") == PartSize(count=60, per_class=True)
    assert PartSize.read("--test", "60 per label") == PartSize(count=60, per_class=True)
    assert PartSize.read("--test", "1") == PartSize(count=1)
    assert PartSize.read("--test", "0.2") == PartSize(0.2)
    assert not PartSize.read("--test", "0")
    with pytest.raises(ThoraxError):
        PartSize.read("--test", "1.5")


def test_a_list_of_the_first_and_of_those_with_a_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("x0.png", 0, 0), ("x1.png", 1, 0), ("x2.png", 0, 0), ("x3.png", 1, 1), ("x4.png", 0, 1)]
    for name, _, _ in rows:
        Image.new("L", (8, 8)).save(tmp_path / name)
    text = "path,Mass,Edema\n" + "".join(f"{n},{a},{b}\n" for n, a, b in rows)
    (tmp_path / "t.csv").write_text(text)
    words = ["list", str(tmp_path), "--out", str(tmp_path / "out" / "l"), "--only-labelled", "--first", "2"]
    assert main(words) == 0
    listed = (tmp_path / "out" / "l.lst").read_text().splitlines()
    assert sorted(line.rpartition("/")[2].split("\t")[-1] for line in listed) == ["x1.png", "x3.png"]
    shown = capsys.readouterr().out
    assert "note: 2 images without any of the labels left out (--only-labelled)" in shown
    assert "note: the first 2 of 3 images (--first)" in shown
    assert main([*words[:4], "--first", "0"]) == 1
