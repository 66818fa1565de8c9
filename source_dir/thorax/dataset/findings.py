"""What is wrong with a set, one finding for each kind of trouble."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from thorax.dataset import leaks, similar
from thorax.dataset.inspect import ImageInfo, ImageInventory

EXAMPLES = 3
#: Images of the smallest part that an epoch or a threshold can be chosen on.
FEWEST = 50
#: Grey levels (of 255) of an image's deviation below which it shows nothing.
FLAT = 2.0


@dataclass
class Finding:
    """One kind of trouble.

    Attributes:
        level: error (do not train on this) or warning.
        check: its name in the JSON.
        message: one line.
        groups: places of the images concerned; those that belong together are in one group.
    """

    level: str
    check: str
    message: str
    groups: list[list[int]] = field(default_factory=list)


def find(images: ImageInventory, looks: Sequence[ImageInfo], smallest: int, patient_scope: str) -> Iterator[Finding]:
    """All findings, errors and warnings mixed, in the order of the checks."""
    readable = np.array([k for k, look in enumerate(looks) if not look.problem], int)
    yield from _single(images, looks, readable, smallest)
    yield from _duplicates(images, looks, readable)
    yield from _patients(images, patient_scope)
    yield from _classes(images)
    yield from _shift(images)
    yield from _leaks(images, looks, readable)
    yield from (Finding("warning", "format", note) for note in images.notes)


def _names(images: ImageInventory, places: Sequence[int]) -> str:
    return ", ".join(images.place(k) for k in places[:EXAMPLES]) + (", ..." if len(places) > EXAMPLES else "")


def _single(
    images: ImageInventory, looks: Sequence[ImageInfo], readable: np.ndarray, smallest: int
) -> Iterator[Finding]:
    bad = [k for k, look in enumerate(looks) if look.problem]
    if bad:
        yield Finding(
            "error",
            "unreadable",
            f"{len(bad)} images cannot be read: {looks[bad[0]].problem}{', ...' if len(bad) > 1 else ''}",
            [[k] for k in bad],
        )
    tiny = [k for k in readable if min(looks[k].width, looks[k].height) < smallest]
    if tiny:
        yield Finding(
            "warning",
            "tiny",
            f"{len(tiny)} images have a side below {smallest} pixels: {_names(images, tiny)}",
            [[k] for k in tiny],
        )
    flat = [k for k in readable if (small := looks[k].small) is not None and small.std() < FLAT]
    if flat:
        yield Finding(
            "error",
            "constant",
            f"{len(flat)} images show nothing, one grey everywhere: {_names(images, flat)}",
            [[k] for k in flat],
        )


def _duplicates(images: ImageInventory, looks: Sequence[ImageInfo], readable: np.ndarray) -> Iterator[Finding]:
    """Groups of the same content, then pairs that are nearly the same; flat images are left out of both."""
    shown = [int(k) for k in readable if (small := looks[k].small) is not None and small.std() >= FLAT]
    by_content: dict[str, list[int]] = defaultdict(list)
    for k in shown:
        by_content[looks[k].sha256].append(k)
    groups = [group for group in by_content.values() if len(group) > 1]
    yield from _told(images, groups, "duplicate", "the same content")
    first = [group[0] for group in by_content.values()]
    small = (
        np.stack([look.small for k in first if (look := looks[k]).small is not None])
        if first
        else np.zeros((0, 8, 8), np.uint8)
    )
    pairs = [[first[a], first[b]] for a, b, _ in similar.near_pairs(small)]
    yield from _told(images, pairs, "near-duplicate", "nearly the same picture")


def _told(images: ImageInventory, groups: list[list[int]], check: str, what: str) -> Iterator[Finding]:
    contradicting = [g for g in groups if not _agree(images.targets[g])]
    across = [g for g in groups if len({images.parts[k] for k in g}) > 1]
    within = [g for g in groups if len({images.parts[k] for k in g}) == 1]
    strangers = [g for g in groups if len({images.patients[k] for k in g}) > 1]

    def line(listed: list[list[int]], rest: str) -> str:
        places = " = ".join(images.place(k) for k in listed[0][:EXAMPLES])
        return (
            f"{len(listed)} group{'s' * (len(listed) > 1)} of images ({sum(map(len, listed))}) with {what} {rest}, e.g."
            f" {places}"
        )

    exact = check == "duplicate"
    if contradicting:
        yield Finding(
            "error" if exact else "warning",
            f"{check}-labels",
            line(contradicting, "have different labels"),
            contradicting,
        )
    if across:
        yield Finding(
            "error" if exact else "warning", f"{check}-across-parts", line(across, "are in different parts"), across
        )
    if within:
        yield Finding("warning", check, line(within, "are in one part"), within)
    if strangers:
        yield Finding("warning", f"{check}-patients", line(strangers, "have different patients"), strangers)


def _agree(targets: np.ndarray) -> bool:
    """Whether no label is 1 for one image and 0 for another; unknown agrees with both."""
    return not ((targets == 1).any(axis=0) & (targets == 0).any(axis=0)).any()


def _patients(images: ImageInventory, scope: str) -> Iterator[Finding]:
    of = {part: set(np.array(images.patients)[images.parts == part].tolist()) for part in images.part_names}
    for a, b in combinations(of, 2):
        if not (shared := sorted(of[a] & of[b])):
            continue
        if scope == "channel":
            yield Finding(
                "warning",
                "patients",
                f"{len(shared)} patient ids are in both {a} and {b}; taken for different people (--patient-scope"
                " channel)",
            )
            continue
        places = [
            k
            for k, (part, who) in enumerate(zip(images.parts, images.patients, strict=True))
            if part in (a, b) and who in set(shared[:EXAMPLES])
        ]
        yield Finding(
            "error",
            "patients",
            f"{len(shared)} patients are in both {a} and {b}, e.g. {', '.join(shared[:EXAMPLES])}; move each to one"
            " part, or, if ids are counted anew in each part, give --patient-scope channel",
            [[k] for k in places],
        )


def _classes(images: ImageInventory) -> Iterator[Finding]:
    for part in images.part_names:
        mine = images.targets[images.parts == part]
        for k, name in enumerate(images.names):
            if not (mine[:, k] == 1).any():
                needed = part in ("train", "images") or (part == "validation" and images.exclusive)
                yield Finding("error" if needed else "warning", "empty-class", f"class {name} has no images in {part}")
        if part in ("validation", "test") and len(mine) < FEWEST:
            use = (
                "to choose an epoch or a threshold on; let training cut validation from train by patient"
                if part == "validation"
                else "to tell how good a model is"
            )
            yield Finding("warning", "small-part", f"{part} has {len(mine)} images, too few {use}")


def _shift(images: ImageInventory) -> Iterator[Finding]:
    """Shares of a label that differ by chance in one of a hundred sets only, and by an effect that matters (Cohen's h
    >= 0.2).
    """
    from scipy.stats import chi2_contingency

    parts = [part for part in images.part_names if (images.parts == part).sum() >= FEWEST]
    labels = images.told_labels
    tests = max(1, len(labels) * len(parts) * (len(parts) - 1) // 2)
    for k, name, _ in labels:
        for a, b in combinations(parts, 2):
            counts = np.array([[(images.targets[images.parts == p, k] == v).sum() for v in (1, 0)] for p in (a, b)])
            if (counts.sum(axis=0) == 0).any() or (counts.sum(axis=1) == 0).any():
                continue
            share = counts[:, 0] / counts.sum(axis=1)
            effect = abs(float(2 * np.arcsin(np.sqrt(share[0])) - 2 * np.arcsin(np.sqrt(share[1]))))
            chance = float(chi2_contingency(counts).pvalue)
            if chance * tests < 0.01 and effect >= 0.2:
                yield Finding(
                    "warning",
                    "prevalence",
                    f"{name} is {share[0]:.1%} of {a} but {share[1]:.1%} of {b} (Cohen's h {effect:.2f}); "
                    "a threshold chosen on one may not fit the other",
                )


def _leaks(images: ImageInventory, looks: Sequence[ImageInfo], readable: np.ndarray) -> Iterator[Finding]:
    known = [looks[k] for k in readable]
    patients = [f"{images.parts[k]} {images.patients[k]}" for k in readable]
    words = {
        "colour mode": [look.mode for look in known],
        "bits": [str(look.bits) for look in known],
        "file type": [look.kind for look in known],
        "size": [f"{look.width}x{look.height}" for look in known],
    }
    numbers = {name: np.unique(column, return_inverse=True)[1].astype(float)[:, None] for name, column in words.items()}
    size = np.array(
        [[look.width, look.height, look.width * look.height, look.width / max(look.height, 1)] for look in known], float
    ).reshape(-1, 4)
    numbers["size"] = size
    for k, name, other in images.told_labels:
        labels = images.targets[readable, k] if len(readable) else np.zeros(0)
        told = np.flatnonzero(~np.isnan(labels))
        if len(told) < 2 or labels[told].min() == labels[told].max():
            continue
        for attribute, values in words.items():
            if len(varied := Counter(values[t] for t in told)) < 2:
                continue
            found = leaks.rules(attribute, [values[t] for t in told], labels[told], name, other)
            for sentence, places in found[:EXAMPLES]:
                yield Finding(
                    "warning",
                    f"leak-{attribute.split()[0]}",
                    f"the {attribute} tells the label: {sentence}",
                    [[int(readable[told[p]])] for p in places],
                )
            auc = leaks.auc_of(numbers[attribute][told], labels[told], [patients[t] for t in told])
            if auc is not None and auc[1] > leaks.LEAST_AUC:
                told_by = (
                    f"the {attribute} alone tells {name} from {other} with AUC {auc[0]:.3f} on unseen patients"
                    f" ({len(varied)} different ones)"
                )
                advice = "training makes all images one size and one channel, but ask how they were made"
                yield Finding("warning", f"leak-{attribute.split()[0]}", f"{told_by}; {advice}")
