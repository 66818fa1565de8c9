"""`pack` on several machines: each writes shards of its own, the first one the index and the checksums."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from thorax.data.packed import SUMS
from thorax.data.samples import Listing
from thorax.data.shards import INDEX
from thorax.dataset import pack_state
from thorax.dataset.cluster.sharing import ClusterJob
from thorax.dataset.commands import by_part, images_of, pack_options
from thorax.dataset.encoding import Encoding
from thorax.dataset.pack_state import PackOptions, Unit
from thorax.dataset.packing import (
    count_left_out,
    finish_shards,
    in_packing_order,
    packed_color,
    readable,
    unit_places,
    write_unit,
)
from thorax.dataset.processes import in_order


def pack_share(job: ClusterJob) -> dict[str, Any] | None:
    """Packs this machine's shards; the lines for the user, None on machines other than the first."""
    options, whole = pack_options(job.args), images_of(job.args)
    options = replace(options, color=packed_color(whole, options, partial(print, flush=True), job.sample))
    parts = {part: in_packing_order(images, options) for part, images in by_part(whole, job.args.split).items()}
    for part, listing in parts.items():
        _pack_units(job, part, listing, options)
    if not job.machine.first:
        return None
    lines: list[str] = []
    for part, listing in parts.items():
        lines += [f"{part}: {line}" if part else line for line in _finish(job, part, listing, options)]
    return {"lines": lines}


def _stage(part: str) -> str:
    return f"pack-{part}" if part else "pack"


def _names(listing: Listing, options: PackOptions) -> list[str]:
    return [f"unit-{k:06d}.json" for k in range(len(unit_places(len(listing.ids), options.shard_images)))]


def _pack_units(job: ClusterJob, part: str, listing: Listing, options: PackOptions) -> None:
    stage, out, target = _stage(part), job.work / "out" / part, _target(job, part)
    out.mkdir(parents=True, exist_ok=True)
    names, places = _names(listing, options), unit_places(len(listing.ids), options.shard_images)
    done, there = job.done(stage), job.store.sizes(target)

    def finished(k: int) -> bool:
        if names[k] not in done:
            return False
        unit = Unit(**json.loads(job.load(stage, names[k])))
        whole = options.skip_corrupt or len(unit.images) == len(places[k])
        return whole and there.get(pack_state.unit_file(out, k, options).name) == unit.bytes

    todo = [k for k in job.machine.share(range(len(names))) if not finished(k)]
    encoding = Encoding(options.size, options.encode, options.quality, options.color)
    sources = [[listing.sources[place] for place in unit] for unit in places]
    for k in job.with_images(stage, todo, sources):
        corrupt: list[str] = []
        images = in_order(encoding, list(zip(places[k], sources[k], strict=True)), job.args.processes)
        unit = write_unit(out, k, listing, readable(images, options, corrupt, _nothing), options)
        for problem in corrupt:
            print(f"left out: {job.skeletons.named(problem)}", flush=True)
        file = pack_state.unit_file(out, k, options)
        job.store.write(f"{target}{file.name}", file)
        job.save(stage, names[k], json.dumps(vars(unit)).encode())  # last: it says that the shard is there
        file.unlink()


def _finish(job: ClusterJob, part: str, listing: Listing, options: PackOptions) -> list[str]:
    """Writes the index, the checksums and the plan of a part; the lines for the user."""
    stage, out, target = _stage(part), job.work / "out" / part, _target(job, part)
    names = _names(listing, options)
    job.wait_for(stage, names)
    units = [Unit(**json.loads(job.load(stage, name))) for name in names]
    lines: list[str] = []
    packed = np.array([place for unit in units for place in unit.images], np.int64)
    lost = [listing.ids[k] for k in np.setdiff1d(np.arange(len(listing.ids)), packed).tolist()]
    left_out = count_left_out(listing, units, lost, lines.append)
    sums = finish_shards(listing, out, units)
    plan = pack_state.plan_of(listing, part or job.args.images.name, options)
    (out / pack_state.STATE).mkdir(exist_ok=True)
    pack_state.finish(out, plan, left_out, sums)
    for name in (INDEX, pack_state.PLAN, SUMS):  # the checksums last: they say that the folder is whole
        job.store.write(f"{target}{name}", out / name)
    size = sum(unit.bytes for unit in units) + (out / INDEX).stat().st_size
    place = f"{len(units)} shards in {target}"
    return [*lines, f"packed {len(packed)} images into {place}, {size / 1e6:.1f} MB; checksums in {SUMS}"]


def _target(job: ClusterJob, part: str) -> str:
    return f"{job.plan.out}{part}/" if part else job.plan.out


def _nothing() -> None:
    pass
