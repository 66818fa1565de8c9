"""The images of class folders again, written in every other format."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from thorax.data.recordio import Writer, pack
from thorax_launch.cli import prepare

CLASSES = ("NORMAL", "PNEUMONIA")


def members(part: Path) -> list[tuple[Path, int]]:
    """Every image of a part in class folders, with its class's index.

    The classes in turn, so that any stretch has both.
    """
    return [
        (xray, k)
        for row in zip(*(sorted((part / name).iterdir()) for name in CLASSES), strict=True)
        for k, xray in enumerate(row)
    ]


def copied(part: Path, folder: Path) -> list[tuple[str, int]]:
    """The images in one folder, under their own names."""
    folder.mkdir(parents=True)
    return [(Path(shutil.copy(xray, folder)).name, k) for xray, k in members(part)]


def as_lst(xrays: Path, root: Path) -> dict[str, Path]:
    """Four channels as the built-in algorithm takes them; the test part is validation."""
    for name, part in (("train", "train"), ("validation", "test")):
        rows = copied(xrays / part, root / name)
        (root / f"{name}_lst").mkdir()
        text = "".join(f"{n}\t{k:.6f}\t{xray}\n" for n, (xray, k) in enumerate(rows))
        (root / f"{name}_lst" / f"{name}.lst").write_text(text)
    return {name: root / name for name in ("train", "validation", "train_lst", "validation_lst")}


def as_recordio(xrays: Path, root: Path) -> dict[str, Path]:
    for name, part in (("train", "train"), ("validation", "test")):
        (root / name).mkdir(parents=True)
        with Writer(root / name / f"{name}.rec") as records:
            for n, (xray, k) in enumerate(members(xrays / part)):
                records.write(pack(xray.read_bytes(), float(k), n), n)
        (root / name / f"{name}.idx").unlink()  # no index is needed
    return {name: root / name for name in ("train", "validation")}


def as_manifest(xrays: Path, root: Path) -> dict[str, Path]:
    for name, part in (("train", "train"), ("test", "test")):
        rows = copied(xrays / part, root / name / "images")
        about = {"type": "groundtruth/image-classification-multilabel", "class-map": dict(enumerate(CLASSES))}
        lines = [
            json.dumps({"source-ref": f"s3://bucket/some/images/{xray}", "findings": [k], "findings-metadata": about})
            for xray, k in rows
        ]
        (root / name / "output.manifest").write_text("\n".join(lines) + "\n")
    return {name: root / name for name in ("train", "test")}


def _split_rows(xrays: Path, folder: Path) -> list[tuple[str, str, str]]:
    """(name, class, split) of all images, copied to one folder; every sixth of train is validation."""
    rows = [
        (xray, CLASSES[k], "val" if n % 12 in (0, 1) else "train")
        for n, (xray, k) in enumerate(copied(xrays / "train", folder))
    ]
    for xray, k in members(xrays / "test"):
        rows.append((Path(shutil.copy(xray, folder)).name, CLASSES[k], "test"))
    return rows


def as_csv(xrays: Path, root: Path) -> dict[str, Path]:
    """One channel; a split column cuts it."""
    rows = _split_rows(xrays, root / "train" / "images")
    with (root / "train" / "images.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows])
    return {"train": root / "train"}


def as_parquet(xrays: Path, root: Path) -> dict[str, Path]:
    import pyarrow
    import pyarrow.parquet

    path, label, split = zip(*_split_rows(xrays, root / "train" / "images"), strict=True)
    pyarrow.parquet.write_table(
        pyarrow.table({"path": path, "labels": [[name] for name in label], "split": split}),
        root / "train" / "films.parquet",
    )
    return {"train": root / "train"}


NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View"
    " Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)


def as_nih(xrays: Path, root: Path) -> dict[str, Path]:
    """The table of 2017, packed, with official lists and more images than are there; PNEUMONIA is Mass."""
    lines, lists = (
        [NIH_HEADER, "00099999_000.png,Hernia,0,99999,058Y,M,PA,2682,2749,0.143,0.143,"],
        {"train": ["00099999_000.png"], "test": []},
    )
    for part, first in (("train", 0), ("test", 500)):
        for n, (xray, k) in enumerate(members(xrays / part)):
            folder = root / "train" / f"images_{n % 2 + 1:03d}" / "images"
            folder.mkdir(parents=True, exist_ok=True)
            name = f"{first + n:08d}_000.png"
            shutil.copy(xray, folder / name)
            lists[part].append(name)
            lines.append(
                f"{name},{'Mass|Nodule' if k else 'No Finding'},0,{first + n},058Y,M,PA,2682,2749,0.143,0.143,"
            )
    (root / "train" / "Data_Entry_2017.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    (root / "train" / "train_val_list.txt").write_text("\n".join(lists["train"]))
    (root / "train" / "test_list.txt").write_text("\n".join(lists["test"]) + "\n")
    return {"train": root / "train"}


def as_coco(xrays: Path, root: Path) -> dict[str, Path]:
    """A COCO root with train2017 and val2017; PNEUMONIA is a person, every third image shows a dog too."""
    categories = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}, {"id": 90, "name": "toothbrush"}]
    (root / "coco" / "annotations").mkdir(parents=True)
    for name, part in (("train2017", "train"), ("val2017", "test")):
        rows = copied(xrays / part, root / "coco" / name)
        images = [{"id": 7 * n + 3, "file_name": xray} for n, (xray, _) in enumerate(rows)]
        boxes = [
            {"image_id": 7 * n + 3, "category_id": c, "iscrowd": 0}
            for n, (_, k) in enumerate(rows)
            for c in [1] * k + [18] * (n % 3 == 0)
        ]
        (root / "coco" / "annotations" / f"instances_{name}.json").write_text(
            json.dumps({"images": images, "annotations": boxes, "categories": categories})
        )
    return {"train": root / "coco"}


def as_root(xrays: Path, root: Path) -> dict[str, Path]:
    """train, val and test folders in one channel, as in Kaggle's chest_xray."""
    shutil.copytree(xrays / "train", root / "all" / "train")
    shutil.copytree(xrays / "test", root / "all" / "test")
    for name in CLASSES:
        (root / "all" / "val" / name).mkdir(parents=True)
        xray = sorted((root / "all" / "train" / name).iterdir())[0]
        xray.rename(root / "all" / "val" / name / xray.name)
    return {"train": root / "all"}


def as_shards(xrays: Path, root: Path) -> dict[str, Path]:
    for part in ("train", "test"):
        assert (
            prepare.main(["pack", str(xrays / part), str(root / part), "--shard-images", "10", "--processes", "1"]) == 0
        )
    return {part: root / part for part in ("train", "test")}


#: Format -> (writer, hyperparameters that it needs).
FORMATS: dict[str, tuple[Callable[[Path, Path], dict[str, Path]], dict[str, str]]] = {
    "folder": (lambda xrays, _: {part: xrays / part for part in ("train", "test")}, {"data_format": "folder"}),
    "lst": (as_lst, {"labels": "NORMAL,PNEUMONIA", "num_classes": "2"}),
    "recordio": (as_recordio, {"labels": "NORMAL,PNEUMONIA"}),
    "manifest": (as_manifest, {}),
    "csv": (as_csv, {}),
    "parquet": (as_parquet, {"data_format": "table", "multi_label": "true"}),
    "nih": (as_nih, {"labels": "Mass,Nodule"}),
    "coco": (as_coco, {"labels": "dog,person", "keep_unlabelled": "false"}),
    "root": (as_root, {}),
    "shards": (as_shards, {"shuffle_buffer": "16"}),
}
