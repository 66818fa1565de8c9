"""docs/from-the-originals.md as rows, and the folder in which their commands run."""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import images
from hosting import npy, tiny_bundle
from listings import records
from published import NIH_HEADER, table
from thorax.data.formats.nih import LABELS
from thorax.labels import LabelSpace
from thorax.serving import bundle_verify

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "from-the-originals.md"
ROLE = "arn:aws:iam::123456789012:role/thorax-execution"
#: Rows, by their thing, whose command needs a stand-in of its own: another test runs it.
ELSEWHERE: dict[str, str] = {"the page, Lambda and API taken away again": "tests/aws/test_web_stacks.py"}


@dataclass(frozen=True)
class Row:
    """One row of the page: its number, the thing, our command, and the test that is named beside it."""

    number: int
    thing: str
    ours: str
    test: str


def rows() -> list[Row]:
    """All of them, in order."""
    found = []
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and cells[0].isdecimal():
            number, thing, _, ours, test = cells
            found.append(Row(int(number), thing, re.findall("`([^`]+)`", ours)[0], test.strip("`")))
    return found


def needs_account(command: str) -> bool:
    """Whether it asks AWS."""
    if not command.startswith("thorax "):
        return re.search(r"sagemaker\.(attach|Endpoint)", command) is not None
    return command.split()[1] in ("status", "follow", "leaderboard", "delete") or "--yes" in command.split()


def write_workspace(root: Path) -> None:
    """All that the commands name but the trained run: images in three layouts, lists, records, answers, bundles."""
    seed = 0
    for part, count, start in (("train", 12, 0), ("test", 6, 100), ("val", 3, 200)):
        for k in range(start, start + count):
            for place in (f"NORMAL/IM-{k:04d}-0001.jpeg", f"PNEUMONIA/person{k}_virus_{k}.jpeg"):
                images.put(root / "chest_xray" / part / place, seed=(seed := seed + 1))
    images.put(root / "x-ray.jpeg", seed=3)
    _write_nih(root / "nih")
    _write_coco(root / "coco")
    _write_files(root)
    findings = tiny_bundle(root / "runs/findings/model", LabelSpace(LABELS, "multilabel"))
    shutil.copytree(findings, root / "runs/findings2/model", copy_function=os.link)
    write_light(findings, root)


def write_light(bundle: Path, root: Path) -> None:
    """Bundles best and next: those of that one with a few bytes for weights, quick to pack; nobody serves them."""
    for name in ("best", "next"):
        shutil.copytree(bundle, root / "runs" / name / "model", ignore=shutil.ignore_patterns("model.safetensors"))
        (root / "runs" / name / "model/model.safetensors").write_bytes(name.encode())
        bundle_verify.seal(root / "runs" / name / "model")


def write_settings(root: Path) -> None:
    """thorax.yaml, prices and the like."""
    (root / "thorax.yaml").write_text(f"{{region: eu-central-1, bucket: my-bucket, role: '{ROLE}'}}")
    (root / "empty.yaml").write_text(f"{{region: eu-central-1, role: '{ROLE}'}}")
    shutil.copyfile(ROOT / "launch/prices.example.yaml", root / "prices.yaml")


def _write_files(root: Path) -> None:
    write_settings(root)
    records(root / "rec", *[0, 1] * 12, ids=range(24))
    names = [(f"NORMAL/IM-{k:04d}-0001.jpeg", f"PNEUMONIA/person{k}_virus_{k}.jpeg") for k in range(12)]
    _list(root / "lists/lst/train.lst", {name: [k] for pair in names for k, name in enumerate(pair)})
    found = {f"{k}.jpg": [int(label in _scene(k)) for label in range(5)] for k in range(12)}
    _list(root / "lists/coco-train/train.lst", dict(list(found.items())[:7]))
    _list(root / "lists/coco-validation/validation.lst", dict(list(found.items())[7:]))
    for k in range(100, 106):
        for place, share in ((f"NORMAL/IM-{k:04d}-0001.jpeg", 0.9), (f"PNEUMONIA/person{k}_virus_{k}.jpeg", 0.2)):
            file = root / "out" / f"{place}.out"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps({"prediction": [share, 1 - share]}))
    (root / "tensor.npy").write_bytes(npy(images.grey(32, 32)[None, None].astype("float32") / 255))
    (root / "array.json").write_text(json.dumps((images.grey(32, 32)[None, None] / 255).tolist()))
    own = "network: cnn5, image_shape: '1,32,32', epochs: 1, batch_size: 8, precision_dtype: float32, threads: 1"
    more = "num_workers: 0, bootstrap_samples: 20, warmup_epochs: 0, validation_fraction: 0.3, threshold_views: 0"
    (root / "own.yaml").write_text(f"hyperparameters: {{{own}, {more}}}\n")


def _list(file: Path, labels: dict[str, list[int]]) -> None:
    """A .lst: index, label or labels, path."""
    file.parent.mkdir(parents=True)
    lines = ["\t".join(map(str, (k, *values, name))) for k, (name, values) in enumerate(labels.items())]
    file.write_text("".join(f"{line}\n" for line in lines))


def _scene(k: int) -> set[int]:
    """The categories of image k, from 0."""
    return {k % 5, (k + 2) % 5} if k % 6 else {k % 5}


def _write_nih(root: Path) -> None:
    lines, parts = [NIH_HEADER], {"train_val_list.txt": [], "test_list.txt": []}
    for k in range(28):
        name = f"{k // 2 + 1:08d}_{k % 2:03d}.png"
        images.put(root / "images" / name, seed=k)
        found = "|".join(LABELS[(k + step) % 14] for step in (0, 5)) if k % 4 else "No Finding"
        lines.append(f"{name},{found},0,{k // 2 + 1},060Y,M,PA,1,1,1,1")
        parts["test_list.txt" if k >= 20 else "train_val_list.txt"].append(name)
    table(root / "Data_Entry_2017.csv", lines)
    for name, listed in parts.items():
        table(root / name, listed)


def _write_coco(root: Path) -> None:
    names = ["person", "bicycle", "car", "motorcycle", "airplane"]
    about, boxes = [], []
    for k in range(12):
        images.put(root / "val2017" / f"{k}.jpg", seed=k)
        about.append({"id": k, "file_name": f"{k}.jpg"})
        for category in _scene(k):
            boxes.append({"id": len(boxes), "image_id": k, "category_id": category + 1, "iscrowd": 0})
    (root / "annotations").mkdir(parents=True)
    categories = [{"id": k, "name": name} for k, name in enumerate(names, 1)]
    text = json.dumps({"images": about, "annotations": boxes, "categories": categories})
    (root / "annotations/instances_val2017.json").write_text(text)
