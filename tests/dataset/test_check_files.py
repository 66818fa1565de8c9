"""The files behind every finding, and the images of each class."""

from __future__ import annotations

import base64
import csv
import io
import re

import numpy as np
import pytest
from PIL import Image

import images as xrays
from thorax.evaluation.sample_grid import EACH, NONE, SIDE, samples_of
from thorax_launch.cli import prepare


@pytest.fixture
def troubled(tmp_path):
    """Ten images of each of two classes, eight of them the same, all of them small."""
    for n, name in enumerate(("NORMAL", "PNEUMONIA")):
        for k in range(10):
            pixels = np.random.default_rng(0 if k < 4 else k + 100 * n).integers(0, 255, (40, 50)).astype(np.uint8)
            xrays.put(tmp_path / "set" / name / f"<b>{name}{k}.png", pixels)
    return tmp_path / "set"


def test_all_files_are_in_a_table_and_on_request_on_the_screen(troubled, tmp_path, capsys):
    table = tmp_path / "found.csv"
    assert prepare.main(["check", str(troubled), "--processes", "1", "--files", str(table)]) == 1
    short = capsys.readouterr().out
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    tiny = [row for row in rows if row["check"] == "tiny"]
    assert len(tiny) == 20 == len({row["id"] for row in tiny}) and len({row["group"] for row in tiny}) == 20
    same = [row for row in rows if row["check"] == "duplicate-labels"]
    assert len(same) == 8 and {row["group"] for row in same} == {"1"}
    assert "and 17 more: --full, or --files FILE" in " ".join(re.sub("[│ ]+", " ", short).split())
    assert str(table) in short and "PNEUMONIA9.png" not in short
    assert prepare.main(["check", str(troubled), "--processes", "1", "--full"]) == 1
    whole = capsys.readouterr().out
    assert all(f"{name}{k}.png" in whole for name in ("NORMAL", "PNEUMONIA") for k in range(10))
    assert prepare.main(["check", str(troubled), "--files", str(tmp_path / "found.txt")]) == 1
    assert "must end in .csv or .parquet" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["check", "stats"])
def test_pages_show_images_of_each_class(troubled, tmp_path, command):
    prepare.main([command, str(troubled), "--processes", "1", "--html", str(tmp_path / "page.html")])
    page = (tmp_path / "page.html").read_text()
    assert "Images of each class" in page and "10 images" in page and "/<b>" not in page
    jpegs = re.findall(r"data:image/jpeg;base64,([^\"]+)", page)
    assert len(jpegs) == 2 * EACH
    with Image.open(io.BytesIO(base64.b64decode(jpegs[0]))) as picture:
        assert picture.format == "JPEG" and max(picture.size) <= SIDE and len(jpegs[0]) < 10_000


def test_rare_labels_choose_first_and_an_image_is_shown_once(tmp_path):
    files = [tmp_path / f"{k}.png" for k in range(30)]
    for k, file in enumerate(files[:29]):  # the last cannot be read
        mode = "RGB" if k == 0 else "L"
        Image.new(mode, (200, 100), k).save(file)
    y = np.zeros((30, 3))
    y[:, 0] = 1
    y[[3, 29], 1] = 1
    y[10, :], y[11, 0] = 0, np.nan
    found = samples_of(["common", "rare", "absent"], y, files, [file.name for file in files])
    shown = {one.name: [image.name for image in one.images] for one in found}
    assert shown["rare"] == ["3.png", "29.png"] and shown["absent"] == [] and shown[NONE] == ["10.png"]
    assert len(shown["common"]) == EACH and not {"3.png", "29.png"} & set(shown["common"])
    assert [one.count for one in found] == [28, 2, 0, 1]
    rare = found[1].images
    assert rare[0].labels == "common, rare" and rare[0].picture and not rare[1].picture
    with Image.open(io.BytesIO(rare[0].picture)) as picture:
        assert picture.size == (SIDE, SIDE // 2)
