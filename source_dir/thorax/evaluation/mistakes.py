"""The worst mistakes and the surest right answers: images, probabilities, and what the network looked at."""

from __future__ import annotations

import hashlib
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import nn

from thorax.data.decoders.limits import stacked
from thorax.data.images import DecodeError, Preprocessing
from thorax.data.source import Source
from thorax.evaluation.arrays import Array
from thorax.labels import LabelSpace
from thorax.models import heat_maps

SIDE = 200  # pixels of a thumbnail's longer side


@dataclass(frozen=True)
class Mistake:
    """One wrong answer, or a right one.

    Attributes:
        image: its place in the set.
        output: the column that is wrong (or right); of exclusive classes the predicted one.
        called, truth: the answer and the label, as text.
        probability: of the output.
        picture: a JPEG of the image and, beside it, the same image under its heat map; empty where it cannot be drawn.
        empty: whether the heat map is: no region raised the probability.
        pixels: a hash of the image as the network sees it; "" before it is drawn.
        answers: every label that is predicted, with its probability; "" of two classes, where `called` says it.
        labels: every label that is true, with its probability.
    """

    image: int
    output: int
    called: str
    truth: str
    probability: float
    picture: bytes = b""
    empty: bool = False
    pixels: str = ""
    answers: str = ""
    labels: str = ""


def worst(targets: Array, probabilities: Array, thresholds: Array, space: LabelSpace, count: int = 12) -> list[Mistake]:
    """Up to `count` wrong answers, farthest from the threshold (in logits) first, each image once.

    Missed and false positives have half of the places each, as far as there are any; of several labels each has two
    of a kind at most. Exclusive classes: wrong by the largest probability, surest first.
    """
    p = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    if space.task == "multiclass":
        return _worst_classes(targets, p, probabilities, space, count)
    distance = np.abs(_logit(p) - _logit(np.clip(np.asarray(thresholds, np.float64), 1e-7, 1 - 1e-7)))
    called = probabilities.astype(np.float64) >= thresholds
    most = 2 if len(space.outputs) > 1 else len(p)
    missed = _farthest((targets == 1) & ~called, distance, most)
    false = _farthest((targets == 0) & called, distance, most)
    half = count // 2
    taken = missed[: max(half, count - len(false))] + false[: max(half, count - len(missed))]
    once = {image: (far, image, k) for far, image, k in sorted(taken)}
    chosen = sorted(once.values(), key=lambda entry: -entry[0])[:count]
    return [_of(i, k, targets, probabilities, called, space) for _, i, k in chosen]


def surest(targets: Array, probabilities: Array, thresholds: Array, space: LabelSpace, count: int = 8) -> list[Mistake]:
    """Up to `count` right answers, the surest first, each image once.

    Of labels: images whose known labels are all right, those with the most labels first, then one of each label; of two
    classes half of the places each. Of exclusive classes: one of each, then more.
    """
    p = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    called = space.decisions(probabilities, np.asarray(thresholds, np.float64))
    known = ~np.isnan(targets)
    right = known & ((targets == 1) == called)
    if space.task == "multiclass":
        distance = p
        right &= called
    else:
        distance = np.abs(_logit(p) - _logit(np.clip(np.asarray(thresholds, np.float64), 1e-7, 1 - 1e-7)))
    most = max(1, count // targets.shape[1])
    found = _farthest(right & called, distance, most)
    if space.task == "binary":
        found = found[: count // 2] + _farthest(right & ~called, distance, count - len(found[: count // 2]))
    elif space.task == "multilabel":
        whole = (right | ~known).all(axis=1) & (np.nansum(targets, axis=1) > 1)
        several = _farthest(right & called & whole[:, None], distance, 1)
        several.sort(key=lambda entry: -np.nansum(targets[entry[1]]))
        found = several[: count // 2] + found
    once: dict[int, tuple[float, int, int]] = {}
    for far, i, k in found:
        once.setdefault(i, (far, i, k))
    return [_of(i, k, targets, probabilities, called, space) for _, i, k in [*once.values()][:count]]


def _of(i: int, k: int, targets: Array, probabilities: Array, called: Array, space: LabelSpace) -> Mistake:
    """The answer on image i about label k."""
    names = [f"no {space.outputs[k]}" if space.task == "multilabel" else space.classes[0], space.outputs[k]]
    answers, labels = _all_labels(targets[i], probabilities[i], called[i], space)
    if space.task == "multiclass":
        answer, truth = space.outputs[int(called[i].argmax())], space.outputs[int(np.nan_to_num(targets[i]).argmax())]
    else:
        answer, truth = names[bool(called[i, k])], names[bool(targets[i, k] == 1)]
    return Mistake(i, k, answer, truth, float(probabilities[i, k]), answers=answers, labels=labels)


def _all_labels(y: Array, p: Array, called: Array, space: LabelSpace) -> tuple[str, str]:
    """(every label predicted, with its probability, the most probable first; every true label, with its own)."""
    if space.task == "binary":
        return "", ""
    order = np.argsort(-p, kind="stable").tolist()
    answers = [f"{space.outputs[k]} {p[k]:.3f}" for k in order if called[k]]
    labels = [f"{space.outputs[k]} {p[k]:.3f}" for k in order if y[k] == 1]
    return ", ".join(answers) or "none", ", ".join(labels) or "none"


def _worst_classes(targets: Array, p: Array, probabilities: Array, space: LabelSpace, count: int) -> list[Mistake]:
    """The images of another class than the most probable one, by the difference of the two probabilities."""
    known = np.flatnonzero(~np.isnan(targets).any(axis=1))
    called, truth = p[known].argmax(axis=1), targets[known].argmax(axis=1)
    difference = p[known, called] - p[known, truth]
    order = [k for k in np.argsort(-difference, kind="stable") if called[k] != truth[k]][:count]
    answers = space.decisions(probabilities, np.zeros(len(space.outputs)))
    return [_of(int(known[k]), int(called[k]), targets, probabilities, answers, space) for k in order]


def _farthest(wrong: Array, distance: Array, most: int) -> list[tuple[float, int, int]]:
    """(distance, image, column) of the wrong entries, farthest first: an image once, a column `most` times."""
    found = [(float(distance[i, k]), int(i), int(k)) for i, k in np.argwhere(wrong)]
    found.sort(key=lambda entry: (-entry[0], *entry[1:]))
    of_column: Counter[int] = Counter()
    chosen: dict[int, tuple[float, int, int]] = {}
    for far, i, k in found:
        if i not in chosen and of_column[k] < most:
            chosen[i] = far, i, k
            of_column[k] += 1
    return [*chosen.values()]


def draw(
    mistake: Mistake, source: Source | bytes, net: nn.Module, preprocessing: Preprocessing, device: torch.device
) -> Mistake:
    """The mistake with its picture; without one if the image cannot be read any more.

    Args:
        source: the image.
        net: in evaluation mode, on `device`.
        preprocessing: as the network was trained.
    """
    try:
        image = preprocessing.image(source)
    except DecodeError:
        return mistake
    x = preprocessing.tensor(torch.from_numpy(image.copy())[None].to(device))
    x = x.contiguous(memory_format=torch.channels_last)
    heat = heat_maps(net, x, torch.tensor([mistake.output]))[0].cpu().numpy()
    return replace(
        mistake,
        picture=_side_by_side(image, heat),
        empty=not heat.any(),
        pixels=hashlib.sha256(image.tobytes()).hexdigest(),
    )


def distinct(drawn: Sequence[tuple[str, Mistake]]) -> list[tuple[str, Mistake]]:
    """(id, mistake) of each image once: of files with the same pixels the first, which is the worst."""
    once: dict[str, tuple[str, Mistake]] = {}
    for name, mistake in drawn:
        once.setdefault(mistake.pixels or name, (name, mistake))
    return [*once.values()]


def _side_by_side(image: Array, heat: Array) -> bytes:
    """JPEG of (H, W[, 3]) uint8 image and the image under (H, W) heat in 0..1: nothing (0), red, yellow (1)."""
    picture = stacked(image).astype(np.float32)
    colour = np.stack([np.full_like(heat, 255), 255 * heat**1.5, 40 * heat], axis=2)
    strength = 0.65 * np.clip(heat, 0, 1)[:, :, None]
    pair = [
        Image.fromarray(part.round().clip(0, 255).astype(np.uint8))
        for part in (picture, picture * (1 - strength) + colour * strength)
    ]
    scale = SIDE / max(image.shape[:2])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    both = Image.new("RGB", (2 * size[0] + 4, size[1]), "white")
    for k, half in enumerate(pair):
        both.paste(half.resize(size, Image.Resampling.LANCZOS), (k * (size[0] + 4), 0))
    buffer = io.BytesIO()
    both.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()


def _logit(p: Array) -> Array:
    return np.log(p) - np.log1p(-p)
