"""Fetch the packages that a job without a network needs into a folder, as wheels for AWS's training image.

examples:
    python launch/wheels.py wheels
    python launch/wheels.py wheels --set wandb_tracking=offline --set network=timm/efficientnet_b0
    python launch/train.py pneumonia-resnet18 --train IMAGES --network-isolation --wheels wheels
"""

from __future__ import annotations

from pathlib import Path

from thorax.text import counted
from thorax_launch.cli import flags


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 an error (one line), 2 a wrong command line."""
    from thorax_launch import wheels

    p = flags.script(__doc__)
    p.add_argument("folder", type=Path, metavar="DIR", help="where the wheels go; what is there already stays")
    p.add_argument("--requirements", type=Path, metavar="FILE", help="default: source_dir/requirements.txt")
    p.add_argument(
        "--python", default=wheels.PYTHON, metavar="VERSION", help=f"of the container (default: {wheels.PYTHON})"
    )
    p.add_argument("--index-url", default="", metavar="URL", help="package index (default: pip's)")
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a hyperparameter of the job, whose packages are fetched too, such as wandb_tracking=offline",
    )
    p.add_argument(
        "--package",
        action="append",
        default=[],
        metavar="NAME",
        help="one more, such as 'pyarrow>=16'; may be repeated",
    )
    p.add_argument(
        "--locked", action="store_true", help="the exact versions of launch/locks, compared with their hashes"
    )
    args = p.parse_args(arguments)

    def work() -> int:
        from thorax.config import TrainingConfig  # late: --help is instant
        from thorax_launch.hyperparameters import from_settings
        from thorax_launch.job_requirements import needed
        from thorax_launch.paths import source_dir

        requirements = args.requirements or source_dir() / "requirements.txt"
        more = ["--index-url", args.index_url] if args.index_url else []
        config = TrainingConfig.parse(from_settings(args.set))
        extra = [one.line for one in needed(config, {})] + args.package
        if args.locked:
            found = wheels.fetch_locked(requirements, args.folder, extra, args.python, more)
        else:
            found = wheels.fetch(requirements, args.folder, args.python, [*more, *extra])
        size = sum(wheel.stat().st_size for wheel in found)
        told = f"{counted(len(found), 'wheel')}, {size / 1e6:.1f} MB"
        print(f"{args.folder}: {told}, for Python {args.python} on Linux x86_64")
        return 0

    return flags.guarded(work)
