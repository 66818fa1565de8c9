"""Colour: the recipe coco-multilabel in colour against its grey twin, on real photographs, in a few CPU-minutes.

python bench/colour.py COCO [--set scenes|objects] [--folds 2] [--size 48] [--epochs 15] [--out F.json]

COCO is a folder with annotations/ and the images of MS-COCO 2017, of which a part is enough. `scenes` are whole
photographs with several labels each; `objects` are what their boxes cut out, by supercategory: more images of a small
part of COCO. Each fold of the photographs is scored once, by networks that were trained on the others; the two runs of
a fold differ in `color` alone. The difference in macro AUC has an interval, by a paired bootstrap of whole photographs.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[1] / name) for name in ("bench", "source_dir", "launch")]
import thorax
from thorax.evaluation.comparison import compare
from thorax.labels import LabelSpace
from thorax_launch.recipe import Recipe

#: Pixels of a box's shorter side, and images of a label in all, at least.
SIDE, FEWEST = 32, 12
LONGEST = 160  # pixels of the longer side of what is cut out


def objects(coco: Path) -> Iterator[tuple[str, Image.Image, set[str]]]:
    """(photograph, what a box cuts out, its supercategory)."""
    for photo, picture, boxes, names in photographs(coco):
        for box in boxes:
            left, top, width, height = box["bbox"]
            if min(width, height) >= SIDE and not box["iscrowd"]:
                yield photo, picture.crop((left, top, left + width, top + height)), {names[box["category_id"]][1]}


def scenes(coco: Path) -> Iterator[tuple[str, Image.Image, set[str]]]:
    """(photograph, the whole of it, the supercategories of its boxes)."""
    for photo, picture, boxes, names in photographs(coco):
        yield photo, picture, {names[box["category_id"]][1] for box in boxes}


def photographs(coco: Path) -> Iterator[tuple[str, Image.Image, list[dict[str, Any]], dict[int, tuple[str, str]]]]:
    """(name, picture, boxes, category id -> name and supercategory) of every photograph that is there."""
    for file in sorted((coco / "annotations").glob("instances_*.json")):
        about = json.loads(file.read_text(encoding="utf-8"))
        names = {c["id"]: (c["name"], c["supercategory"]) for c in about["categories"]}
        for image in sorted(about["images"], key=lambda image: image["id"]):
            path = coco / file.stem.removeprefix("instances_") / image["file_name"]
            if path.is_file():
                with Image.open(path) as picture:
                    boxes = [box for box in about["annotations"] if box["image_id"] == image["id"]]
                    yield path.stem, picture.convert("RGB"), boxes, names


def write_channel(coco: Path, root: Path, what: str) -> tuple[list[str], list[dict[str, Any]]]:
    """The images as PNG below `root`; the labels, and a row of table.csv each."""
    found = []
    for k, (photo, picture, labels) in enumerate({"objects": objects, "scenes": scenes}[what](coco)):
        picture.thumbnail((LONGEST, LONGEST))
        picture.save(root / f"{k:05d}.png", compress_level=1)
        found.append((photo, f"{k:05d}.png", labels))
    names = sorted({name for _, _, labels in found for name in labels})
    kept = [name for name in names if sum(name in labels for _, _, labels in found) >= FEWEST]
    rows = [
        {"path": path, "patient": photo, **{name: int(name in labels) for name in kept}}
        for photo, path, labels in found
    ]
    return kept, rows


def trained(root: Path, out: Path, rows: list[dict[str, Any]], fold: list[bool], settings: dict[str, Any]) -> Any:
    """id -> probabilities of the images of the fold, by a network that was trained on the others."""
    with (root / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0], "split"])
        writer.writeheader()
        writer.writerows({**row, "split": "test" if test else "train"} for row, test in zip(rows, fold, strict=True))
    thorax.train(settings, train=root, output=out)
    with (out / "output/data/predictions.csv").open(encoding="utf-8") as file:
        return {
            row["id"]: [float(v) for name, v in row.items() if name.startswith("probability:")]
            for row in csv.DictReader(file)
            if row["part"] == "test"
        }


def compared(args: argparse.Namespace) -> dict[str, Any]:
    """The difference of colour to grey over all folds."""
    recipe = Recipe.load("coco-multilabel").hyperparameters
    with TemporaryDirectory() as folder:
        root = Path(folder) / "images"
        root.mkdir()
        names, rows = write_channel(args.coco, root, args.set)
        photos = sorted({row["patient"] for row in rows})
        place = dict(zip(np.random.default_rng(0).permutation(photos).tolist(), range(len(photos)), strict=True))
        found: dict[str, dict[str, list[float]]] = {"gray": {}, "rgb": {}}
        for fold in range(args.folds):
            test = [place[row["patient"]] % args.folds == fold for row in rows]
            for color, channels in (("gray", 1), ("rgb", 3)):
                settings = {
                    **recipe,
                    "labels": ",".join(names),
                    "color": color,
                    "image_shape": f"{channels},{args.size},{args.size}",
                    "resize": round(args.size * 128 / 112),
                    "epochs": args.epochs,
                    "keep_unlabelled": True,
                    "precision_dtype": "float32",
                    "bootstrap_samples": 0,
                    "threshold_views": 0,
                    "threads": 1,
                    "seed": args.seed,
                }
                out = Path(folder) / f"{color}-{fold}"
                found[color] |= trained(root, out, rows, test, settings)
    ids = [row["path"] for row in rows]
    targets = np.array([[row[name] for name in names] for row in rows], np.float32)
    gray, rgb = (np.array([found[color][image] for image in ids], np.float32) for color in ("gray", "rgb"))
    space = LabelSpace(tuple(names), "multilabel")
    result = compare(targets, gray, rgb, space, [row["patient"] for row in rows])
    return {"set": args.set, "images": len(rows), "photographs": len(photos), **result}


def parser() -> argparse.ArgumentParser:
    """The flags."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("coco", type=Path, metavar="COCO")
    p.add_argument("--set", choices=("scenes", "objects"), default="objects")
    for name, default in (("folds", 2), ("size", 48), ("epochs", 15), ("seed", 0)):
        p.add_argument(f"--{name}", type=int, default=default)
    p.add_argument("--out", type=Path, help="write the figures as JSON")
    return p


def main() -> None:
    """Trains, compares and prints."""
    args = parser().parse_args()
    found = compared(args)
    print(f"{found['set']}: {found['images']} images of {found['photographs']} photographs, {args.folds} folds")
    for name, entry in [*found["labels"].items(), ("macro", found["macro"])]:
        told = [f"{entry[key]:+.3f}" if entry[key] is not None else "-" for key in ("difference", "low", "high")]
        areas = [f"{entry[key]:.3f}" if entry[key] is not None else "-" for key in ("first", "second")]
        print(f"{name:14} AUC gray {areas[0]}, rgb {areas[1]}, difference {told[0]} [{told[1]}, {told[2]}]")
    if args.out:
        args.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
