"""`check` and `stats` on several machines: what each image is, unit by unit, then one report of all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from thorax.data.source import Source
from thorax.dataset.checking import check_of, check_page
from thorax.dataset.cluster.facts import facts_from_bytes, facts_to_bytes
from thorax.dataset.cluster.sharing import ClusterJob
from thorax.dataset.commands import inventory_of
from thorax.dataset.inspection import ImageInfo, count_greys, inspect_image
from thorax.dataset.inventory import ImageInventory
from thorax.dataset.packing import unit_places
from thorax.dataset.pixel_stats import counting, draw_stats, stats_of, training_part
from thorax.dataset.processes import in_order

Found = tuple[list[ImageInfo], np.ndarray]


def check_share(job: ClusterJob) -> dict[str, Any] | None:
    """What `check` finds, as its JSON; None on machines other than the first."""
    images = inventory_of(job.args)
    if (found := _facts(job, "check", inspect_image, images)) is None:
        return None
    report = check_of(_named(images, job), found[0], job.args.smallest, job.args.patient_scope)
    if job.args.html:
        job.store.write(f"{job.plan.state}report.html", check_page(report).encode())
    return {"report": report.to_dict()}


def stats_share(job: ClusterJob) -> dict[str, Any] | None:
    """What `stats` counts, as its JSON; None on machines other than the first."""
    whole = inventory_of(job.args)
    images = training_part(whole)
    work = counting(images, job.args.color, job.sample)
    # Another colour is another stage: its counts have another shape.
    stage = "stats" if work is count_greys else "stats-rgb"
    if (facts := _facts(job, stage, work, images)) is None:
        return None
    found = stats_of(_named(images, job), *facts)
    if job.args.png:
        draw_stats(found, job.work / "stats.png")
        job.store.write(f"{job.plan.state}stats.png", job.work / "stats.png")
    notes = [job.skeletons.named(note) for note in whole.notes]
    return {"figures": found.to_dict(), "notes": notes, "problems": found.problems[:3]}


def _named(images: ImageInventory, job: ClusterJob) -> ImageInventory:
    """With addresses in place of folders in what users read."""
    return replace(images, notes=[job.skeletons.named(note) for note in images.notes])


def _facts(job: ClusterJob, stage: str, work: Callable[[Source], ImageInfo], images: ImageInventory) -> Found | None:
    """What all images are, in their order, and the sum of their grey levels; None on machines other than the first."""
    places = unit_places(len(images), job.plan.unit)
    names = [f"unit-{k:06d}.npz" for k in range(len(places))]
    done = job.done(stage)
    todo = [k for k in job.machine.share(range(len(places))) if names[k] not in done]
    sources = [[images.sources[place] for place in unit] for unit in places]
    for k in job.with_images(stage, todo, sources):
        infos = list(in_order(work, sources[k], job.args.processes))
        named = [replace(info, problem=job.skeletons.named(info.problem)) for info in infos]
        job.save(stage, names[k], facts_to_bytes(named))
    if not job.machine.first:
        return None
    job.wait_for(stage, names)
    found = [facts_from_bytes(job.load(stage, name)) for name in names]
    greys: np.ndarray = np.stack([grey for _, grey in found]).sum(axis=0)
    return [info for infos, _ in found for info in infos], greys
