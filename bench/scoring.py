"""Scoring a folder of images: launch/batch.py's way against the plain one, same weights, ours and peer in turn.

    python bench/scoring.py [--images DIR] [--network resnet18] [--seconds S]

The plain way: torchvision's ImageFolder with Grayscale, Resize, ToTensor and Normalize in a DataLoader, a float32
network in eval mode under torch.inference_mode, with one thread or as many as CPUs and with or without a reading
worker, whatever is fastest. Ours is at its defaults on a bundle after `thorax optimize`. Random weights: only the time
matters here, so int8 is accepted whatever its answers are; the largest difference is printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from bench import ROOT, prepare
from fair import Row, alternate, compare, machine, timed
from serving import quantize


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="a folder of JPEGs for each of two classes (default: synthetic images)",
    )
    p.add_argument("--network", default="resnet18", help="default: resnet18")
    p.add_argument("--size", type=int, default=224, help="pixels a side that the network sees (default: 224)")
    p.add_argument("--count", type=int, default=512, metavar="N", help="images of a round (default: 512)")
    p.add_argument("--batch", type=int, default=32, help="images of a forward pass (default: 32)")
    p.add_argument(
        "--workers",
        type=int,
        help="processes that read images (default: ours one for four CPUs, the plain way the best of 0 and 1)",
    )
    p.add_argument("--threads", type=int, metavar="N", help="CPUs to use, on both sides (default: all)")
    p.add_argument("--seconds", type=float, default=40, help="for all rounds, about (default: 40)")
    p.add_argument("--float32", action="store_true", help="ours by torch in float32, not optimized")
    a = p.parse_args()
    with TemporaryDirectory(prefix="bench-") as scratch:
        row = measure(prepare(Path(scratch) / "images", a.images, a.count, (a.size, a.size)), Path(scratch), a)
    print(" | ".join(row))


def measure(folder: Path, scratch: Path, a: argparse.Namespace) -> Row:
    from thorax.machine import free_cpus
    from thorax.scoring.folder_images import images_to_score
    from thorax.scoring.options import BatchOptions
    from thorax.scoring.resumable import score_all
    from thorax.serving.classifier import Classifier

    cpus = a.threads or free_cpus()
    workers = cpus // 4 if a.workers is None else a.workers
    bundle(scratch / "model", a.network, a.size)
    if not a.float32:
        quantize(scratch / "model", folder)
    classifier = Classifier.load(scratch / "model", threads=1, batch=a.batch)
    images = images_to_score(folder, classifier.bundle.space)
    plain_net = classifier.bundle.build_network()
    plain_images = ImageFolder(
        str(folder),
        transforms.Compose(
            [
                transforms.Grayscale(1),
                transforms.Resize((a.size, a.size)),
                transforms.ToTensor(),
                transforms.Normalize([0.5], [0.25]),
            ]
        ),
    )
    torch.set_num_threads(cpus)

    def ours() -> np.ndarray:
        partial = scratch / "partial"
        partial.unlink(missing_ok=True)
        return score_all(classifier, images, partial, {}, BatchOptions(a.batch, workers, cpus))[0]

    def plain(threads: int, readers: int) -> np.ndarray:
        torch.set_num_threads(threads)
        loader: Any = DataLoader(plain_images, batch_size=a.batch, num_workers=readers)
        with torch.inference_mode():
            return torch.cat([plain_net(x).sigmoid() for x, _ in loader]).numpy()

    difference = float(np.abs(ours() - plain(cpus, 0)).max())  # and warms the disk cache
    tried = [(threads, n) for threads in (1, cpus) for n in ((0, 1) if a.workers is None else (workers,))]
    best = min(tried, key=lambda way: timed(lambda: plain(*way)))  # threads that wait for each other cost
    one, other = alternate(ours, lambda: plain(*best), seconds=a.seconds, warm=0)
    what = (
        f"Scoring {len(images)} images, {a.network}, {a.size} px, {cpus} CPU(s),"
        f" {classifier.engine} {classifier.precision}"
    )
    note = f"largest difference of a probability {difference:.4f}, {machine()}"
    return compare(
        what,
        f"plain float32 DataLoader loop, {best[0]} thread(s), {best[1]} worker(s)",
        len(images),
        one,
        other,
        target=">= 6",
        note=note,
    )


def bundle(folder: Path, network: str, size: int) -> None:
    """A bundle with random weights."""
    from thorax import models
    from thorax.data.images import Preprocessing
    from thorax.labels import LabelSpace
    from thorax.serving.bundle_contents import BundleContents
    from thorax.serving.bundle_writer import write_bundle

    torch.manual_seed(0)
    contents = BundleContents(
        network=network,
        space=LabelSpace(("NORMAL", "PNEUMONIA"), "binary"),
        preprocessing=Preprocessing(size, size, normalization="fixed"),
        thresholds={"PNEUMONIA": 0.5},
    )
    write_bundle(folder, models.build(network, 1, 1, 0.0), contents, "id,patient,part\n", ROOT / "source_dir")


if __name__ == "__main__":
    main()
