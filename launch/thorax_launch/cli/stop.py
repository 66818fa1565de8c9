"""Stop what runs on AWS, by its name: a training job, a search with its jobs, a batch transform, a processing job, or a
pipeline's latest run with its steps. What it wrote stays. An endpoint is deleted: `thorax delete NAME`.

examples:
    python launch/stop.py pneumonia-resnet18-261121-101500
    python launch/stop.py sweep --kind search --wait
"""

from __future__ import annotations

import argparse

from thorax_launch.cli import flags, follow


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 it is being stopped or has ended already, 1 an error, 9 AWS cannot be asked any more."""
    p = flags.script(__doc__)
    p.add_argument("name", help="of the job, search or pipeline")
    follow.add_kind(p)
    p.add_argument("--wait", action="store_true", help="return once it has stopped")
    flags.add_place(p)
    args = p.parse_args(arguments)
    return flags.guarded(lambda: flags.on_aws(lambda: stop(args)))


def stop(args: argparse.Namespace) -> int:
    """Stops it where it still runs.

    Raises:
        ThoraxError: there is none of that name, or AWS refuses.
    """
    from thorax_launch.sagemaker.endings import JobEndedError  # late: --help is instant

    job = follow.found(args)
    if (status := job.status()) not in job.kind.running:
        print(f"{job.kind.words} {job.name} has ended already: {status}")
        return 0
    job.stop()
    print(f"{job.kind.words} {job.name} is being stopped; {job.kept}", flush=True)
    if args.wait:
        try:
            job.wait(logs=False)
        except JobEndedError as end:
            print(f"{job.kind.words} {job.name}: {end.status}")
    return 0
