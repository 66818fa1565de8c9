"""The shell lines of README and docs/, and a folder in which they can be executed as they stand there."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

import dicoms
import published
from conftest import TINY, write_images
from thorax.data.formats.nih import LABELS
from thorax.data.recordio import Writer, pack

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^ *```(?:sh|bash)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)

#: Pages with tests of their own, which execute all their lines -> which.
OWN_TESTS = {"get-the-data.md": "test_get_the_data.py", "from-the-originals.md": "test_from_the_originals.py"}
#: Beginning of a line that is not executed -> why.
EXCEPTIONS = {
    "make ": "makes an environment, needs a GPU, or takes minutes",
    "source ": "an environment that `make` makes",
    "pip install ": "downloads",
    "thorax wheels ": "downloads; tests/launch/test_wheels.py runs it with a stand-in for pip",
    "pytest": "this suite itself",
    "aws ": "AWS's own command, with an account",
    "sam ": "AWS's own command, with an account",
    "wandb sync ": "needs an account there",
    "tensorboard ": "another project's server",
    "thorax weights make resnet50": "downloads; tests/launch/test_weights_command.py, with stand-ins",
    "thorax weights make densenet121": "downloads",
    "thorax weights make timm/": "downloads",
    "thorax weights make torchxrayvision/": "downloads",
    "thorax compare runs/first JOB-ON-AWS": "asks AWS; tests/aws/test_compare_jobs.py",
    "thorax folds gather": "asks AWS; tests/aws/test_folds.py",
    "thorax ensemble ": "joins several runs; tests/serving/test_ensemble.py",
    "thorax recipe new": "asks questions on a terminal; tests/launch/test_recipe_command.py answers them",
}
#: What is known by its words: a line that trains, and one that asks AWS.
TRAINS = re.compile(
    r"(?:thorax (?:train|tune|pipeline)\b.* --local|thorax lr-find|thorax demo|python source_dir/train_model\.py --t)"
)
ASKS_AWS = re.compile(
    r"^thorax (?:(?:train|tune|deploy|pipeline|leaderboard|registry|status|follow|stop|delete|batch|predict chest)\b"
    r"(?!.*--local)(?!.*--outputs)|prepare (?:check|stats|pack|upload) .*s3://)"
)


@dataclass(frozen=True)
class Line:
    """One line of a page's shell blocks.

    Attributes:
        page: its file's name.
        text: as it stands there; continued lines are joined.
        kind: exception, training, aws or here.
    """

    page: str
    text: str
    kind: str


def kind_of(text: str) -> str:
    """See Line."""
    if text.startswith(tuple(EXCEPTIONS)):
        return "exception"
    if TRAINS.search(text):
        return "training"
    dry = "--dry-run" in text and not text.startswith("thorax delete")
    return "aws" if ASKS_AWS.search(text) and not dry else "here"


def lines(page: Path) -> Iterator[Line]:
    """All of a page."""
    for block in FENCE.findall(page.read_text(encoding="utf-8")):
        for text in block.replace("\\\n", " ").splitlines():
            text = re.sub(r"\s+#(?![^ ]).*$", "", text).strip()
            if text and not text.startswith("#"):
                yield Line(page.name, text, kind_of(text))


#: What makes trainings long, and is chosen anew where a line says it.
LONG = ("epochs", "image_shape", "network", "batch_size", "threads")


def small(text: str) -> str:
    """A line that trains, as small as it can be: what it does not say itself, and what makes it long."""
    chosen = dict(TINY) | {"epochs": "1", "bootstrap_samples": "0", "threshold_views": "0"}
    if "network=timm/" in text or "network=densenet121" in text or "--weights resnet18" in text:
        chosen.pop("network")
    text = re.sub(
        rf" --(?:set )?(?:{'|'.join(name for name in LONG if name in chosen)}|num_layers|lr)[= ]\S+", "", text
    )
    for name in re.findall(r"(?:--set |--)([a-z][a-z_-]*)[= ]", text):
        chosen.pop(name.replace("-", "_"), None)
    if text.startswith("python"):
        return text + "".join(f" --{name} {value}" for name, value in chosen.items())
    text = re.sub(r"--max-jobs \d+", "", text)
    if text.startswith("thorax tune"):
        chosen.pop("batch_size")  # it is searched
        text += " --max-jobs 1"
    text += " --steps 100" if text.startswith("thorax lr-find") else ""
    text += " --no-serve" if text.startswith("thorax demo") else ""
    return text + "".join(f" --set {name}={value}" for name, value in chosen.items())


# -- The folder --------------------------------------------------------------------------------------------------------


def furnish(place: Path) -> None:
    """Writes all that the lines name, but for runs/."""
    for part, count, seed in (("train", 8, 1), ("test", 8, 2), ("val", 12, 3)):
        write_images(place / "images" / part, count, seed)
    (place / "images/validation").symlink_to("val")
    (place / "IMAGES").symlink_to("images")
    (place / "source_dir").symlink_to(ROOT / "source_dir")
    for name in ("x-ray.jpeg", "image.jpeg", "IMAGE.jpeg", "a.png", "b.png"):
        first = next((place / "images/test/NORMAL").iterdir())
        Image.open(first).save(place / name)
    rows = [(k, image) for k, kind in enumerate(("NORMAL", "PNEUMONIA")) for image in _of(place, "train", kind)]
    tests = [(k, image) for k, kind in enumerate(("NORMAL", "PNEUMONIA")) for image in _of(place, "test", kind)]
    vals = [(k, image) for k, kind in enumerate(("NORMAL", "PNEUMONIA")) for image in _of(place, "val", kind)]
    (place / "lists").mkdir()
    for name, members in (("train", rows), ("validation", vals), ("test", tests)):
        text = (f"{n}\t{k:.6f}\t{image.parent.name}/{image.name}\n" for n, (k, image) in enumerate(members))
        (place / f"lists/{name}.lst").write_text("".join(text))
        (place / f"records/{name}").mkdir(parents=True)
        with Writer(place / f"records/{name}/{name}.rec") as records:
            for n, (k, image) in enumerate(members):
                records.write(pack(image.read_bytes(), float(k), n), n)
        shutil.copy(place / f"lists/{name}.lst", place / f"records/{name}")
    for _, image in tests:  # what a batch transform answers
        answer = place / "out" / image.parent.name / f"{image.name}.out"
        answer.parent.mkdir(parents=True, exist_ok=True)
        answer.write_text("[0.3, 0.7]")
        batch = place / "outputs" / image.parent.name / f"{image.name}.out"
        batch.parent.mkdir(parents=True, exist_ok=True)
        batch.write_text("[0.3, 0.7]")
    _tables(place, rows)
    _published(place, rows)
    (place / "thorax.yaml").write_text(
        "{region: eu-central-1, bucket: my-bucket, role: 'arn:aws:iam::123456789012:role/thorax-execution'}\n"
    )
    (place / "KEY").write_bytes(b"k" * 32)
    (place / "KEY").chmod(0o600)
    weights = torchvision.models.resnet18().state_dict()
    for name in ("resnet18.safetensors", "resnet50.safetensors"):
        save_file(weights, place / name)
    torch.save({"state_dict": weights}, place / "trained.ckpt")
    (place / "wheels").mkdir()
    (place / "wheels/a-1.0-py3-none-any.whl").write_bytes(b"wheel")
    shutil.copy(ROOT / "launch/prices.example.yaml", place / "prices.yaml")


def _of(place: Path, part: str, kind: str) -> list[Path]:
    return sorted((place / "images" / part / kind).iterdir())


def _tables(place: Path, rows: list[tuple[int, Path]]) -> None:
    """channel/ with a manifest, set/ with tables, siim/ with run lengths, OTHER_SET/ with other labels."""
    for folder in ("channel", "set", "siim", "OTHER_SET"):
        (place / folder).mkdir()
        for _, image in rows:
            shutil.copy(image, place / folder / image.name)
    about = {"type": "groundtruth/image-classification-multilabel", "class-map": {"0": "Mass", "1": "Edema"}}
    entries = [
        {"source-ref": f"s3://bucket/images/{image.name}", "findings": [k], "findings-metadata": about}
        for k, image in rows
    ]
    (place / "channel/output.manifest").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    table = [
        (image.name, ("Mass", "Nodule")[k], f"P{n // 2}", ("PA", "AP")[n % 2]) for n, (k, image) in enumerate(rows)
    ]
    _csv(place / "set/images.csv", ("path", "labels", "patient", "Projection"), table)
    _csv(place / "named.csv", ("Image", "labels", "PatientID", "Projection"), table)
    masks = [(Path(row[0]).stem, ("-1", "3 10 5 10")[n % 2]) for n, row in enumerate(table)]
    _csv(place / "siim/train.csv", ("ImageId", "EncodedPixels"), masks)
    for name, _ in masks:
        image = place / "siim" / f"{name}.png"
        image.with_suffix(".dcm").write_bytes(dicoms.dicom(np.asarray(Image.open(image).convert("L"))))
        image.unlink()
    names = [(image.name, ("No Finding", "Pneumonia")[k]) for k, image in rows]
    _csv(place / "OTHER_SET/images.csv", ("path", "labels"), names)
    (place / "labels.yaml").write_text("PNEUMONIA: [Pneumonia]\n")


def _published(place: Path, rows: list[tuple[int, Path]]) -> None:
    """nih/, NIH/ and nih14/, coco/ and COCO/ as they are downloaded."""
    head = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex,View Position"
    names = [f"{n // 2:08d}_{n % 2:03d}.png" for n in range(len(rows))]
    every = "|".join(LABELS)
    text = [f"{name},{(every, 'No Finding')[n % 2]},{n % 2},{n // 2},0{50 + n}Y,M,PA" for n, name in enumerate(names)]
    (place / "nih/images_001/images").mkdir(parents=True)
    published.table(place / "nih/Data_Entry_2017.csv", [head, *text])
    for name, (_, image) in zip(names, rows, strict=True):
        shutil.copy(image, place / "nih/images_001/images" / name)
    (place / "nih/train_val_list.txt").write_text("\n".join(names[:-6]) + "\n")
    (place / "nih/test_list.txt").write_text("\n".join(names[-6:]) + "\n")
    about = [
        (f"images_001/images/{name}", image.parent.name, f"P{n // 2}", "MF"[n % 2], str(40 + n), ("PA", "AP")[n % 2])
        for n, (name, (_, image)) in enumerate(zip(names, rows, strict=True))
    ]
    for other in ("NIH", "nih14"):
        shutil.copytree(place / "nih", place / other)
    _csv(place / "nih/images.csv", ("path", "labels", "patient", "sex", "age", "view"), about)
    kinds = ("person", "bicycle", "car", "motorcycle", "airplane")
    for part in ("train2017", "val2017"):
        (place / "coco" / part).mkdir(parents=True)
        for _, image in rows:
            shutil.copy(image, place / "coco" / part / f"{part}{image.name}")
        (place / "coco/annotations").mkdir(exist_ok=True)
        found = {
            "images": [{"id": n, "file_name": f"{part}{image.name}"} for n, (_, image) in enumerate(rows)],
            "categories": [{"id": n, "name": name} for n, name in enumerate(kinds)],
            "annotations": [
                {"id": n, "image_id": n, "category_id": n % 5, "iscrowd": 0, "bbox": [1, 1, 5, 5]}
                for n in range(len(rows))
            ],
        }
        (place / f"coco/annotations/instances_{part}.json").write_text(json.dumps(found))
    shutil.copytree(place / "coco", place / "COCO")


def _csv(file: Path, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    with file.open("w", newline="") as stream:
        csv.writer(stream).writerows([head, *rows])
