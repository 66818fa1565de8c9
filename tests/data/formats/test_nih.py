"""NIH ChestX-ray14 as published: what is read, and what is refused in one line."""

from __future__ import annotations

import numpy as np
import pytest

import channels
import images
from listings import read, refused

NAN = np.nan


HEADERS = {
    "2017": channels.NIH_HEADER,
    "2020": (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View"
        " Position,OriginalImageWidth,OriginalImageHeight,OriginalImagePixelSpacing_x,OriginalImagePixelSpacing_y"
    ),
}
ROWS = [
    "00000001_000.png,Cardiomegaly|Emphysema,0,1,58,M,PA,2682,2749,0.143,0.143",
    "00000001_001.png,No Finding,1,1,58,M,PA,2682,2749,0.143,0.143",
    "00000020_000.png,Pleural Thickening,0,20,61,F,AP,2500,2048,0.168,0.168",
]


def nih(root, rows=ROWS, header="2020", where="images", name="Data_Entry_2017.csv", **lists):
    for k, row in enumerate(ROWS):
        images.put(root / where / row.split(",")[0], seed=k)
    (root / name).write_text("\n".join([HEADERS[header], *rows]) + "\n")
    for part, text in lists.items():
        (root / f"{part}_list.txt").write_text(text)
    return root


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("where", ["images", "images_001/images", "."])
def test_the_nih_table_as_published(tmp_path, header, where):
    listing = read(nih(tmp_path, [row + "," * (header == "2017") for row in ROWS], header, where))
    assert len(listing.names) == 14
    assert listing.ids == ["00000001_000.png", "00000001_001.png", "00000020_000.png"]
    assert listing.patients == ["00000001", "00000001", "00000020"]
    assert [[name for name, on in zip(listing.names, row, strict=True) if on] for row in listing.targets] == [
        ["Cardiomegaly", "Emphysema"],
        [],
        ["Pleural_Thickening"],
    ]
    assert all(path.is_file() for path in listing.sources)
    assert (listing.exclusive, listing.parts, listing.notes) == (False, None, ())


def test_the_official_lists(tmp_path):
    root = nih(tmp_path, train_val="00000001_000.png\n00000001_001.png\n", test="00000020_000.png")
    assert read(root).parts == ["train", "train", "test"]
    (root / "train_val_list.txt").unlink()
    assert read(root).parts == ["train", "train", "test"]
    (root / "train_val_list.txt").write_text("00000001_000.png\n")
    assert read(root).ids == ["00000001_000.png", "00000020_000.png"]
    assert read(root).notes == ("1 image is in neither official list and is left out",)
    (root / "train_val_list.txt").write_text("00000020_000.png\n")
    assert "1 image of {} is in both official lists, e.g. 00000020_000.png".format(root) in refused(root)  # noqa: UP032


def test_images_of_the_table_that_are_not_there(tmp_path):
    root = nih(tmp_path)
    (root / "images" / "00000001_001.png").unlink()
    assert read(root).ids == ["00000001_000.png", "00000020_000.png"]
    assert read(root).notes == ("1 of the 3 images of Data_Entry_2017.csv is not there and is left out",)
    for image in (root / "images").iterdir():
        image.unlink()
    assert "none of the 3 images of" in refused(root)


def test_bad_nih(tmp_path):
    assert "Data_Entry_2017.csv line 3: the label 'Cardiomegally' is unknown; did you mean Cardiomegaly?" in refused(
        nih(tmp_path / "a", [ROWS[0], ROWS[1].replace("No Finding", "Cardiomegally"), ROWS[2]])
    )
    assert "Data_Entry_2017.csv line 3 has no Patient ID" in refused(
        nih(tmp_path / "d", [ROWS[0], "00000001_001.png,No Finding,1", ROWS[2]])
    )
    assert "Data_Entry_2017.csv line 4 has 00000001_000.png a second time, with other labels than" in refused(
        nih(tmp_path / "b", [*ROWS[:2], ROWS[0].replace("Cardiomegaly|", "")])
    )
    (tmp_path / "a" / "Data_Entry_2017.csv").write_text("Image Index,Patient ID\na,1\n")
    assert "has no column Finding Labels; it has Image Index, Patient ID" in refused(tmp_path / "a")
    root = nih(tmp_path / "c")
    nih(root, where="images_002/images", name="Data_Entry_2017_v2020.csv")
    assert "holds 2 NIH tables (Data_Entry_2017.csv, Data_Entry_2017_v2020.csv); leave one" in refused(root)
    (root / "Data_Entry_2017.csv").unlink()
    assert "is in images and in images_002/images of" in refused(root)
