"""Prepare images for training: check them, split them by patient, pack them, and send them to S3.

examples:
    python launch/prepare.py check images/
    python launch/prepare.py split images/ --out split.csv --test 0.15
    python launch/prepare.py pack images/ packed/ --to shards --size 256 --split split.csv
    python launch/prepare.py upload packed/ s3://bucket/images --dry-run
"""

from __future__ import annotations

from thorax.dataset.__main__ import STOPPED, run
from thorax.dataset.arguments import add_command, parser
from thorax_launch.cli.flags import guarded
from thorax_launch.sagemaker import uploads


def main(arguments: list[str] | None = None) -> int:
    """As `python -m thorax.dataset`, and the command upload."""
    p, commands = parser(__doc__)
    uploads.add_arguments(add_command(commands, "upload", "upload a folder to S3, only what changed", uploads.__doc__))
    args = p.parse_args(arguments)
    return guarded(lambda: uploads.run(args) if args.command == "upload" else run(args), STOPPED)
