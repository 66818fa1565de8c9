"""What lies in a channel and is no image of it: counted and named by kind, in every format."""

from __future__ import annotations

import json
import os

import pytest
from PIL import Image

import dicoms
import images
from listings import channel, read

#: Name -> how Pillow writes it: the endings that public sets have.
NAMES = {
    "a.JPG": "JPEG", "b.jfif": "JPEG", "c.jpe": "JPEG", "d.bmp": "BMP", "e.webp": "WEBP", "f.gif": "GIF",
    "g.jp2": "JPEG2000", "0d5f3b": "JPEG", "h.jpg_large": "JPEG", "i.TIFF": "TIFF", "j.img": "PNG", "k.jpg": "PNG",
}  # fmt: skip


def test_images_are_known_by_their_content(tmp_path):
    root = channel(tmp_path / "set", ("B/b.png",))
    (root / "A").mkdir()
    for name, kind in NAMES.items():
        Image.fromarray(images.grey()).save(root / "A" / name, kind)
    for name in ("l.ima", "m.dic", "1.2.840.113", "IM000001"):
        (root / "A" / name).write_bytes(dicoms.dicom(images.grey().astype("uint16"), PatientID=name))
    listing = read(root)
    assert sorted(name[2:] for name in listing.ids if name[0] == "A") == sorted(
        [*NAMES, "l.ima", "m.dic", "1.2.840.113", "IM000001"]
    )
    assert len({who for who in listing.patients if who.startswith("dicom-")}) == 4


def test_files_are_left_out_by_kind(tmp_path):
    root = channel(tmp_path / "set", ("A/a.png", "B/b.png"))
    for name in ("A/readme.txt", "B/x.txt", "A/notes", "B/Thumbs.db", "A/a.png.bak", "A/a.png~", "cite.xlsx"):
        (root / name).write_bytes(b"\x89PNG\r\n\x1a\n" if "png" in name else b"text")
    for name in (".hidden", "A/._a.png", ".cache/x.png"):
        images.put(root / name, seed=1)
    os.mkfifo(root / "A" / "pipe")
    listing = read(root)
    assert listing.ids == ["A/a.png", "B/b.png"]
    assert listing.notes[0] == "folders passed over: .cache (1 image)"
    assert listing.notes[1].startswith("8 files left out (")
    for kind in (".txt 2", "no ending 2", ".db 1", ".bak 1", ".png~ 1", ".xlsx 1"):
        assert kind in listing.notes[1]


def test_folders_of_systems_are_no_classes(tmp_path):
    systems = ("__MACOSX/A/b.png", "$RECYCLE.BIN/d.png", "System Volume Information/f.png", "lost+found/e.png")
    tools = (
        "@eaDir/a.png/SYNO.jpg",
        "A/@eaDir/x.jpg",
        ".ipynb_checkpoints/a.png",
        "__pycache__/c.png",
        "#recycle/g.png",
    )
    junk = (*systems, *tools)
    root = channel(tmp_path / "set", ("A/a.png", "B/b.png", *junk))
    listing = read(root)
    assert (listing.names, listing.ids) == (("A", "B"), ["A/a.png", "B/b.png"])
    assert listing.notes[0].startswith("folders passed over: ")
    assert "(1 image)" in listing.notes[0]


def test_folders_that_only_begin_like_those_of_systems_are_classes(tmp_path):
    assert read(channel(tmp_path / "set", ("__other__/a.png", "B/b.png"))).names == ("B", "__other__")


BOXES = {"images": [{"id": 1, "file_name": "a.png"}], "annotations": [], "categories": [{"id": 1, "name": "Mass"}]}


@pytest.mark.parametrize(
    ("name", "text", "data_format"),
    [
        ("x.lst", "0\t0\ta.png\n", "lst"),
        ("x.csv", "path,label\na.png,A\n", "table"),
        ("x.manifest", '{"source-ref": "a.png", "y": 0}', "manifest"),
        ("x.json", json.dumps(BOXES), "coco"),
        ("Data_Entry_2017.csv", "Image Index,Finding Labels,Patient ID\na.png,Mass,1\n", "nih"),
    ],
)
def test_images_that_a_list_does_not_have_are_counted(tmp_path, name, text, data_format):
    root = channel(tmp_path / "set", ("a.png", "b.png", "more/c.png"))
    (root / name).write_text(text)
    listing = read(root, data_format)
    assert len(listing.ids) == 1
    assert f"2 images below {root} not listed, left out: b.png, more/c.png" in listing.notes
