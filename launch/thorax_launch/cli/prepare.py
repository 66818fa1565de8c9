"""Prepare images for training: check them, split them by patient, pack them, and send them to S3.

examples:
    python launch/prepare.py check images/
    python launch/prepare.py split images/ --out split.csv --test 0.15
    python launch/prepare.py pack images/ packed/ --to shards --size 256 --split split.csv
    python launch/prepare.py upload packed/ s3://bucket/images --dry-run
    python launch/prepare.py check s3://bucket/images --instances 8 --wait --json check.json
"""

from __future__ import annotations

import argparse

from thorax.dataset.__main__ import STOPPED, run
from thorax.dataset.arguments import add_command, parser
from thorax.dataset.cluster.plan import COMMANDS as SHARED
from thorax_launch.cli import prepare_on_aws, prepare_upload
from thorax_launch.cli.flags import guarded, on_aws
from thorax_launch.hyperparameters import meaning

#: Commands that read images in any format.
READERS = ("check", "stats", "list", "split", "pack")


def main(arguments: list[str] | None = None) -> int:
    """As `python -m thorax.dataset`, and the command upload."""
    p, commands = parser(__doc__)
    upload = add_command(commands, "upload", "upload a folder to S3, only what changed", prepare_upload.__doc__)
    prepare_upload.add_arguments(upload)
    for name in READERS:
        commands.choices[name].add_argument(
            "--recipe", metavar="NAME", help="read the images as this recipe (or YAML file) has training read them"
        )
    for name in SHARED:
        prepare_on_aws.add_arguments(commands.choices[name], full=name != "check")  # check has one of its own
    args = p.parse_args(arguments)
    if getattr(args, "instances", None) is not None:
        return guarded(lambda: on_aws(lambda: prepare_on_aws.run(_as_recipe(args))))
    return guarded(lambda: prepare_upload.run(args) if args.command == "upload" else _here(_as_recipe(args)), STOPPED)


def _here(args: argparse.Namespace) -> int:
    if args.command in SHARED:
        prepare_on_aws.check_here(args)
    return run(args)


def _as_recipe(args: argparse.Namespace) -> argparse.Namespace:
    """With what the recipe says of reading, where the flags do not say it.

    Raises:
        ThoraxError: there is no such recipe.
    """
    if not getattr(args, "recipe", None):
        return args
    from thorax.data.formats.read_settings import NAMES  # late: --help imports no numpy
    from thorax_launch.recipe import Recipe  # yaml: not for --help

    said = {meaning(name): value for name, value in Recipe.load(args.recipe).hyperparameters.items()}
    given = {meaning(setting.partition("=")[0]) for setting in args.set} | ({"labels"} if args.labels else set())
    args.set += [f"{name}={value}" for name, value in said.items() if name in NAMES and name not in given]
    if args.data_format == "auto":
        args.data_format = said.get("data_format", "auto")
    return args
