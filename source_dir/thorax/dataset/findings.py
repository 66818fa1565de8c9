"""What is wrong with a set: one finding for each kind of problem."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from thorax.data.patients import UNKNOWN
from thorax.dataset import leaks, similar
from thorax.dataset.inspection import SMALL, ImageInfo
from thorax.dataset.inventory import WHOLE, ImageInventory
from thorax.text import are, counted, has

EXAMPLES = 3
#: Images that a part needs, for an epoch or a threshold to be chosen on it.
FEWEST = 50
#: An image with a smaller std of grey levels (0..255) shows nothing.
FLAT = 2.0
#: Levels by which the mean colours of two images differ at least to count as different ones.
TINT_STEP = 4.0


@dataclass
class Finding:
    """One kind of problem.

    Attributes:
        level: error (do not train on this) or warning.
        check: its name in the JSON.
        message: one line.
        images: places of the images concerned in the inventory; those that belong together are in one group.
    """

    level: str
    check: str
    message: str
    images: list[list[int]] = field(default_factory=list)


def find(images: ImageInventory, infos: Sequence[ImageInfo], smallest: int, patient_scope: str) -> Iterator[Finding]:
    """All findings, errors and warnings mixed, in the order of the checks."""
    yield from _single(images, infos, smallest)
    yield from _duplicates(images, infos)
    yield from _patients(images, patient_scope)
    yield from _classes(images)
    yield from _shift(images)
    yield from _leaks(images, infos)
    for note in images.notes:
        check = "labels" if note in images.label_notes else "patients-unknown" if UNKNOWN in note else "format"
        yield Finding("warning", check, note)


def _names(images: ImageInventory, places: Sequence[int]) -> str:
    return ", ".join(images.place(k) for k in places[:EXAMPLES]) + (", ..." if len(places) > EXAMPLES else "")


def _is_flat(info: ImageInfo) -> bool:
    return info.small is not None and bool(info.small.std() < FLAT)


def _single(images: ImageInventory, infos: Sequence[ImageInfo], smallest: int) -> Iterator[Finding]:
    """Images that are a problem by themselves."""
    bad = [k for k, info in enumerate(infos) if info.problem]
    if bad:
        more = ", ..." if len(bad) > 1 else ""
        message = f"{counted(len(bad), 'image')} cannot be read: {infos[bad[0]].problem}{more}"
        yield Finding("error", "unreadable", message, [[k] for k in bad])
    readable = [(k, info) for k, info in enumerate(infos) if not info.problem]
    tiny = [k for k, info in readable if min(info.header.width, info.header.height) < smallest]
    if tiny:
        message = (
            f"{counted(len(tiny), 'image')} {has(len(tiny))} a side below {smallest} pixels: {_names(images, tiny)}"
        )
        yield Finding("warning", "tiny", message, [[k] for k in tiny])
    flat = [k for k, info in readable if _is_flat(info)]
    if flat:
        message = f"{counted(len(flat), 'image')} of nothing, one grey everywhere: {_names(images, flat)}"
        yield Finding("error", "constant", message, [[k] for k in flat])


def _duplicates(images: ImageInventory, infos: Sequence[ImageInfo]) -> Iterator[Finding]:
    """Groups of the same content, then pairs that are nearly the same; flat images are left out of both."""
    by_content: dict[str, list[int]] = defaultdict(list)
    for k, info in enumerate(infos):
        if info.small is not None and not _is_flat(info):
            by_content[info.sha256].append(k)
    groups = [group for group in by_content.values() if len(group) > 1]
    yield from _judge_groups(images, groups, "duplicate", "the same content")
    first = [group[0] for group in by_content.values()]
    small = np.array([infos[k].small for k in first], np.uint8).reshape(-1, SMALL, SMALL)
    pairs = [[first[a], first[b]] for a, b, _ in similar.near_pairs(small)]
    yield from _judge_groups(images, pairs, "near-duplicate", "nearly the same picture")


def _judge_groups(images: ImageInventory, groups: list[list[int]], check: str, what: str) -> Iterator[Finding]:
    """Findings about groups of like images: other labels, other parts, one part, other patients."""

    def finding(level: str, name: str, chosen: list[list[int]], rest: str) -> Iterator[Finding]:
        if chosen:
            places = " = ".join(images.place(k) for k in chosen[0][:EXAMPLES])
            count = f"{len(chosen)} group{'s' * (len(chosen) > 1)} of images ({sum(map(len, chosen))})"
            yield Finding(level, name, f"{count} with {what} {rest}, e.g. {places}", chosen)

    def differ(column: Sequence[str] | np.ndarray, group: list[int]) -> bool:
        return len({column[k] for k in group}) > 1

    level = "error" if check == "duplicate" else "warning"
    contradicting = [g for g in groups if not _agree(images.targets[g])]
    across = [g for g in groups if differ(images.parts, g)]
    within = [g for g in groups if not differ(images.parts, g)]
    yield from finding(level, f"{check}-labels", contradicting, "have different labels")
    yield from finding(level, f"{check}-across-parts", across, "are in different parts")
    yield from finding("warning", check, within, "are in one part")
    others = [g for g in groups if differ(images.patients, g)]
    yield from finding("warning", f"{check}-patients", others, "have different patients")


def _agree(targets: np.ndarray) -> bool:
    """Whether no label is 1 for one image and 0 for another; unknown agrees with both."""
    return not ((targets == 1).any(axis=0) & (targets == 0).any(axis=0)).any()


def _patients(images: ImageInventory, scope: str) -> Iterator[Finding]:
    patients = {part: set(np.array(images.patients)[images.parts == part].tolist()) for part in images.part_names}
    for a, b in combinations(patients, 2):
        if not (shared := sorted(patients[a] & patients[b])):
            continue
        if scope == "channel":
            ids = f"{counted(len(shared), 'patient id')} {are(len(shared))} in both {a} and {b}"
            rows = enumerate(zip(images.parts, images.patients, strict=True))
            places = [[k] for k, (part, who) in rows if part in (a, b) and who in set(shared)]
            message = f"{ids}; taken for different people (--patient-scope channel)"
            yield Finding("warning", "patients", message, places)
            continue
        some = shared[:EXAMPLES]
        rows = enumerate(zip(images.parts, images.patients, strict=True))
        message = (
            f"{counted(len(shared), 'patient')} {are(len(shared))} in both {a} and {b}, e.g. {', '.join(some)}; move"
            " each to one part, or, if ids are counted anew in each part, give --patient-scope channel"
        )
        both = set(shared)
        places = [[k] for k, (part, who) in rows if part in (a, b) and who in both]
        yield Finding("error", "patients", message, places)


def _classes(images: ImageInventory) -> Iterator[Finding]:
    """Classes without images, and parts that are too small."""
    for part in images.part_names:
        targets = images.targets[images.parts == part]
        for k, name in enumerate(images.names):
            if not (targets[:, k] == 1).any():
                needed = part in ("train", WHOLE) or (part == "validation" and images.exclusive)
                yield Finding("error" if needed else "warning", "empty-class", f"class {name} has no images in {part}")
        if part in ("validation", "test") and len(targets) < FEWEST:
            use = (
                "to choose an epoch or a threshold on; let training cut validation from train by patient"
                if part == "validation"
                else "to measure how good a model is"
            )
            message = f"{part} has {counted(len(targets), 'image')}, too few {use}"
            yield Finding("warning", "small-part", message, [[int(k)] for k in np.flatnonzero(images.parts == part)])


def _shift(images: ImageInventory) -> Iterator[Finding]:
    """Labels with another share in each part: by chance in one of a hundred sets only, and by an effect that matters
    (Cohen's h >= 0.2)."""
    from scipy.stats import chi2_contingency

    parts = [part for part in images.part_names if (images.parts == part).sum() >= FEWEST]
    labels = images.independent_labels
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


def _leaks(images: ImageInventory, infos: Sequence[ImageInfo]) -> Iterator[Finding]:
    """Properties of the files by which a label can be known: see `leaks`."""
    readable = np.array([k for k, info in enumerate(infos) if not info.problem], int)
    headers = [infos[k].header for k in readable]
    patients = [f"{images.parts[k]} {images.patients[k]}" for k in readable]
    words = {
        "colour mode": [h.mode for h in headers],
        "bits": [str(h.bits) for h in headers],
        "file type": [h.kind for h in headers],
        "size": [f"{h.width}x{h.height}" for h in headers],
    }
    tints = np.array([infos[k].color for k in readable], float).reshape(-1, 2)
    words["mean colour"] = [str(tuple(np.rint(tint / TINT_STEP).astype(int))) for tint in tints]
    numbers = {name: np.unique(column, return_inverse=True)[1].astype(float)[:, None] for name, column in words.items()}
    sizes = [[h.width, h.height, h.width * h.height, h.width / max(h.height, 1)] for h in headers]
    numbers["mean colour"] = tints
    numbers["size"] = np.array(sizes, float).reshape(-1, 4)
    for k, name, other in images.independent_labels:
        labels = images.targets[readable, k]
        known = np.flatnonzero(~np.isnan(labels))
        if len(known) < 2 or labels[known].min() == labels[known].max():
            continue
        for attribute, column in words.items():
            values = [column[t] for t in known]
            if len(varied := Counter(values)) < 2:
                continue
            by_content = attribute == "mean colour"  # a value says nothing by itself: no rules, the tree alone
            check = "leak-tint" if by_content else f"leak-{attribute.split()[0]}"
            rules = [] if by_content else leaks.rules(attribute, values, labels[known], name, other)
            for sentence, places in rules[:EXAMPLES]:
                concerned = [[int(readable[known[p]])] for p in places]
                yield Finding("warning", check, f"the {attribute} gives the label away: {sentence}", concerned)
            auc = leaks.auc_of(numbers[attribute][known], labels[known], [patients[t] for t in known])
            if auc is not None and auc[1] > leaks.LEAST_AUC:
                advice = (
                    "with color=gray a network does not see it, with color=rgb it does: ask whether it is the subject's"
                    " or the camera's"
                    if by_content
                    else "training makes all images one size and one channel (with color=rgb three), but ask how they"
                    " were made"
                )
                yield Finding(
                    "warning",
                    check,
                    f"the {attribute} alone separates {name} from {other} with AUC {auc[0]:.3f} on unseen patients"
                    f" ({len(varied)} different ones); {advice}",
                )
