"""Sets of synthetic chest X-rays (see radiograph.py): deterministic, with known labels, several images a patient."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from thorax.errors import ThoraxError
from thorax.tracking.progress import Progress
from thorax_launch.synthetic.radiograph import FINDINGS, Anatomy, draw_radiograph

#: Goes up whenever the same parameters give other images, so that an old set on disk is not taken for a new one.
VERSION = 1
MARKER = "synthetic.json"
FEWEST = 40  # images in a set: fewer leave no room for every finding in the test part


@dataclass(frozen=True)
class _Planned:
    """One image of a set: its file, its patient, what it shows and how it is stored."""

    part: str
    path: str  #: below the part's folder, without the suffix
    patient: int
    number: int  #: over the whole set, from 1
    findings: tuple[str, ...]
    classes: tuple[str, ...]
    turn: int  #: counts within the class: file type, mode and shape follow from it alone, and give no label away

    @property
    def file(self) -> str:
        return self.path + (".png" if self.turn % 2 else ".jpeg")

    def save(self, folder: Path, seed: int) -> None:
        rng = np.random.Generator(np.random.Philox(key=[seed, self.number]))
        anatomy = Anatomy.draw(np.random.Generator(np.random.Philox(key=[seed, 2**32 + self.patient])))
        long = int(rng.integers(280, 401))
        short = max(220, int(long / rng.uniform(1.08, 1.30)))
        size = (long, short) if self.turn % 3 == 0 else (short, long)
        picture = Image.fromarray(draw_radiograph(rng, self.findings, anatomy, size))
        target = folder / self.part / self.file
        target.parent.mkdir(parents=True, exist_ok=True)
        picture.convert("RGB" if self.turn % 7 == 4 else "L").save(target, quality=90, compress_level=3)


@contextmanager
def drawing(root: Path) -> Iterator[None]:
    """Turns a folder that cannot be written, or a full disk, into a ThoraxError."""
    try:
        yield
    except OSError as error:  # Pillow's own have no errno
        place, why = error.filename or root, error.strerror or error
        raise ThoraxError(
            f"synthetic images: {place} cannot be written: {why}; free some space or name another folder (--runs DIR)"
        ) from None


def _visits(rng: np.random.Generator, after: int, images: int) -> list[tuple[int, int]]:
    """`images` pairs (patient, image of that patient from 1): one to four images each, numbers from `after` + 1."""
    visits: list[tuple[int, int]] = []
    while len(visits) < images:
        after += 1
        visits += [(after, nth) for nth in range(1, int(rng.integers(2, 6)))]
    return visits[:images]


def _plan_folders(rng: np.random.Generator, images: int) -> Iterator[_Planned]:
    patient = number = 0
    for part, share in (("train", images - images // 5), ("test", images // 5)):
        for name, count in (("NORMAL", share * 2 // 5), ("PNEUMONIA", share - share * 2 // 5)):
            visits = _visits(rng, patient, count)
            for turn, (patient, nth) in enumerate(visits):
                number += 1
                germ = "bacteria" if patient % 2 else "virus"  # in the name only: both are drawn alike
                stem = f"IM-{patient:04d}-{nth:04d}" if name == "NORMAL" else f"person{patient}_{germ}_{number}"
                findings = () if name == "NORMAL" else ("Consolidation",)
                yield _Planned(part, f"{name}/{stem}", patient, number, findings, (name,), turn)


def _plan_table(rng: np.random.Generator, images: int) -> Iterator[_Planned]:
    patient = number = 0
    for part, share in (("train", images - images // 5), ("test", images // 5)):
        visits = _visits(rng, patient, share)
        ill: dict[int, set[str]] = {person: set() for person, _ in visits}
        for finding in FINDINGS:
            free = [person for person in ill if len(ill[person]) < 3]
            for person in rng.choice(free, min(len(free), max(1, round(0.23 * len(ill)))), replace=False):
                ill[int(person)].add(finding)
        for patient, nth in visits:
            number += 1
            shown = {finding for finding in sorted(ill[patient]) if nth == 1 or rng.random() < 0.85}
            if len(shown) < 3 and rng.random() < 0.15:
                shown.add(str(rng.choice(FINDINGS)))
            findings = tuple(sorted(shown))
            turn = int(rng.integers(42))
            yield _Planned(part, f"images/{number:05d}", patient, number, findings, findings or ("No Finding",), turn)


def _count(images: Sequence[_Planned]) -> dict[str, Any]:
    classes = Counter(name for image in images for name in image.classes)
    patients = {image.patient for image in images}
    return {"images": len(images), "patients": len(patients), "classes": dict(sorted(classes.items()))}


def _write(root: Path, kind: str, images: int, seed: int) -> dict[str, Any]:
    if images < FEWEST or seed < 0:
        raise ThoraxError(f"images={images} seed={seed}: give {FEWEST} images or more and a seed of 0 or more")
    asked = {"kind": kind, "version": VERSION, "images": images, "seed": seed}
    root = Path(root).absolute()
    with drawing(root):
        return _draw(root, asked)


def _draw(root: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Plans, draws beside `root`, renames. The marker says what a folder is, so that no other folder is overwritten."""
    kind, images, seed = asked["kind"], asked["images"], asked["seed"]
    partial = root.with_name(root.name + ".partial")
    for folder in (root, partial):
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            continue
        try:
            held = json.loads((folder / MARKER).read_text())
            holds, counts = held["asked"], held["counts"]
        except (OSError, ValueError, RecursionError, KeyError, TypeError):
            raise ThoraxError(f"{folder} is no set of synthetic images; name another folder or move it away") from None
        if folder == root:
            if holds == asked and counts:
                return dict(counts)
            raise ThoraxError(f"{folder} holds synthetic images of {holds}, not {asked}; name another folder")
        shutil.rmtree(folder)  # an interrupted run of ours
    partial.mkdir(parents=True, exist_ok=True)
    (partial / MARKER).write_text(json.dumps({"asked": asked, "counts": None}))
    rng = np.random.Generator(np.random.Philox(key=[seed, 2**33]))
    plan = list((_plan_folders if kind == "folders" else _plan_table)(rng, images))
    for image in Progress("drawing synthetic X-rays", len(plan), every=10.0).each(plan):
        image.save(partial, seed)
    parts = {part: [image for image in plan if image.part == part] for part in ("train", "test")}
    if kind == "table":
        for part, members in parts.items():
            rows = [(image.file, "|".join(image.classes), f"P{image.patient:04d}") for image in members]
            with (partial / part / "images.csv").open("w", newline="") as stream:
                csv.writer(stream, lineterminator="\n").writerows([("path", "labels", "patient"), *rows])
    counts = _count(plan) | {part: _count(members) for part, members in parts.items()}
    (partial / MARKER).write_text(json.dumps({"asked": asked, "counts": counts}, indent=1))
    partial.rename(root)
    return counts


def write_folders(root: Path, *, images: int = 480, seed: int = 0) -> dict[str, Any]:
    """A binary set in folders: root/train and root/test, each with NORMAL and PNEUMONIA (3 of 5 images).

    Names follow the public paediatric set: IM-0012-0001.jpeg (patient, image) and person12_bacteria_34.jpeg. A patient
    has 1 to 4 images and is in one part and class only; a fifth of the images is the test part. JPEG and PNG, grey and
    RGB, portrait and landscape (220 to 400 pixels a side) come in equal shares in both classes.

    Args:
        root: the folder to make. If it already holds this very set, nothing is written.
        images: how many, 40 or more.
        seed: 0 or more; on one machine the same seed gives the same bytes.

    Returns:
        {"images", "patients", "classes": {name: images}} of the whole, and the same under "train" and "test".

    Raises:
        ThoraxError: too few images, `root` (or root.partial) holds something else, or it cannot be written.
    """
    return _write(root, "folders", images, seed)


def write_table(root: Path, *, images: int = 400, seed: int = 0) -> dict[str, Any]:
    """A multi-label set: root/train and root/test, each with images.csv (path,labels,patient) and images/.

    `labels` joins 0 to 3 of FINDINGS with "|", or says "No Finding". A finding is on 15 to 30 % of the images, follows
    its patient through 1 to 4 images, and is in both parts; a patient (P0042) is in one part only.

    Args, Returns, Raises: as write_folders; an image counts once for each of its findings.
    """
    return _write(root, "table", images, seed)
