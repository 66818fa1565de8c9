"""Watch a training job on AWS: its log until it ends. Ctrl-C asks whether to stop it.

example:
    python launch/follow.py pneumonia-resnet18-261121-101500
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from thorax_launch.cli import flags

if TYPE_CHECKING:
    from thorax_launch.sagemaker.jobs import TrainingJob


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 the job completed or was stopped, 1 it failed, or AWS cannot be asked; 130 Ctrl-C."""
    p = flags.script(__doc__)
    p.add_argument("name", help="of the training job")
    flags.add_place(p)
    args = p.parse_args(arguments)

    def work() -> int:
        from thorax_launch.sagemaker.account import place  # late: --help is instant
        from thorax_launch.sagemaker.jobs import TrainingJob

        return watch(TrainingJob(args.name, place(args.profile, args.region)))

    return flags.guarded(work)


def watch(job: TrainingJob) -> int:
    """Shows the log until the job ends; Ctrl-C asks whether to stop the job. 0, or 130 after Ctrl-C.

    Raises:
        ThoraxError: the job failed, or AWS cannot be asked.
    """
    try:
        job.wait()
        return 0
    except KeyboardInterrupt:
        return _interrupted(job)


def _interrupted(job: TrainingJob) -> int:
    from thorax_launch.cli.aws import confirmed
    from thorax_launch.sagemaker.status import follow_command

    print()
    try:
        stop = sys.stdin.isatty() and confirmed(f"stop job {job.name}? No leaves it running.")
    except (KeyboardInterrupt, EOFError):
        stop = False
    if stop:
        job.stop()
        print(f"job {job.name} is being stopped; its checkpoints stay, and --resume {job.name} goes on from them")
    else:
        print(f"job {job.name} goes on; to watch it again: {follow_command(job.name)}")
    return 130
