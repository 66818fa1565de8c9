"""Watch a training job on AWS: its log until it ends. Ctrl-C asks whether to stop it.

example:
    python launch/follow.py pneumonia-resnet18-261121-101500
"""

from __future__ import annotations

from thorax_launch.cli import flags


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 the job completed or was stopped, 1 it failed, or AWS cannot be asked; 130 Ctrl-C."""
    p = flags.script(__doc__)
    p.add_argument("name", help="of the training job")
    p.add_argument("--profile", default="", metavar="NAME", help="AWS profile")
    p.add_argument("--region", default="", metavar="REGION")
    args = p.parse_args(arguments)

    def work() -> int:
        from thorax_launch.sagemaker.account import place  # late: --help is instant
        from thorax_launch.sagemaker.follow import follow

        return follow(args.name, place(args.profile, args.region))

    return flags.guarded(work)
