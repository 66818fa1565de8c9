"""One machine's part of a job on several; SageMaker Processing starts this on each of them.

examples:
    python -m thorax.dataset.cluster /opt/ml/processing/plan JOB
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from thorax.console import script
from thorax.dataset.cluster.looking import check_share, stats_share
from thorax.dataset.cluster.machines import Machine
from thorax.dataset.cluster.packing import pack_share
from thorax.dataset.cluster.plan import OBJECTS, SPLIT, ClusterPlan, objects_from_bytes
from thorax.dataset.cluster.sharing import RESULT, ClusterJob
from thorax.dataset.cluster.skeleton import Skeleton, Skeletons
from thorax.dataset.cluster.store import Store
from thorax.errors import ThoraxError
from thorax.machine import free_cpus

SHARES = {"check": check_share, "stats": stats_share, "pack": pack_share}
#: Bytes of an exit message that AWS keeps.
MESSAGE = 1000


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 this machine's part is done, 1 an error: the last line and the job's exit message say which."""
    p = script(__doc__)
    p.add_argument("plan", type=Path, metavar="DIR", help="folder with the plan and its objects")
    p.add_argument("job", metavar="JOB", help="name of the SageMaker job")
    p.add_argument("--config", type=Path, default=Path("/opt/ml/config/resourceconfig.json"), metavar="FILE")
    p.add_argument("--work", type=Path, default=Path("/opt/ml/processing/work"), metavar="DIR", help="for its files")
    p.add_argument("--message", type=Path, default=Path("/opt/ml/output/message"), metavar="FILE", help="exit message")
    args = p.parse_args(arguments)
    named: Callable[[str], str] = str
    try:
        plan, machine = ClusterPlan.read(args.plan), Machine.read(args.config)
        store = Store(plan.kms_key)
        job = ClusterJob(args.job, plan, machine, store, Skeletons([]), argparse.Namespace(), args.work)
    except ThoraxError as error:
        return _ended(args, str(error))
    try:
        job = prepared(job, args.plan)
        named = job.skeletons.named
        if (result := SHARES[plan.command](job)) is not None:
            store.write(f"{plan.state}{RESULT}", json.dumps(result, ensure_ascii=False).encode())
        return 0
    except Exception as error:
        if not isinstance(error, ThoraxError):
            traceback.print_exc()
        why = f"{machine}: {named(str(error)) if isinstance(error, ThoraxError) else repr(error)}"
        with suppress(ThoraxError):  # without S3 the others find out by themselves
            job.fail(why)
        return _ended(args, why)


def prepared(job: ClusterJob, folder: Path) -> ClusterJob:
    """The job with its sources as folders below its work folder."""
    shutil.rmtree(job.work, ignore_errors=True)
    job.work.mkdir(parents=True)
    objects = objects_from_bytes((folder / OBJECTS).read_bytes())
    skeletons = {}
    for source, address in job.plan.sources.items():
        skeletons[source] = Skeleton(job.work / source, address, objects[source], job.store)
        skeletons[source].build()
    places: dict[str, Path | None] = dict.fromkeys(
        ("images", *(f"{part}{end}" for part in ("train", "validation", "test") for end in ("", "_lst")))
    )
    places |= {source: skeleton.folder for source, skeleton in skeletons.items()}
    split = folder / SPLIT
    known = {
        "processes": free_cpus(),
        "color": "auto",
        **job.plan.options,
        **places,
        "split": split if split.is_file() else None,
    }
    print(f"{job.machine}: {sum(map(len, objects.values()))} objects are listed", flush=True)
    return ClusterJob(
        job.name,
        job.plan,
        job.machine,
        job.store,
        Skeletons([*skeletons.values()]),
        argparse.Namespace(**known),
        job.work,
    )


def _ended(args: argparse.Namespace, why: str) -> int:
    """Leaves the reason where AWS looks for it, and prints it."""
    with suppress(OSError):
        args.message.parent.mkdir(parents=True, exist_ok=True)
        args.message.write_bytes(why.encode()[:MESSAGE])
    print(f"error: {why}", file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
