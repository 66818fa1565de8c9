"""Make a file of published weights to start training from, or show what a weights file is.

A training job downloads nothing: the file is made once, on a machine with a network, and given by --weights.

examples:
    python launch/weights.py make resnet50 --out resnet50.safetensors
    python launch/weights.py make torchxrayvision/densenet121-res224-all --out chest.safetensors
    python launch/weights.py make timm/efficientnet_b0 --out b0.safetensors --upload s3://BUCKET/weights
    python launch/weights.py make trained.ckpt --out trained.safetensors
    python launch/weights.py show resnet50.safetensors
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from thorax.errors import ThoraxError
from thorax.serving.bundle_place import bundle_place
from thorax.text import counted
from thorax_launch.cli import flags
from thorax_launch.invocation import command

#: Stands for "--upload without an address": the settings' own bucket.
_DEFAULT = "default"


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 an error (one line), 2 a wrong command line."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] not in ("make", "show") and Path(given[0]).exists():
        given = ["show", *given]  # `thorax weights FILE`
    args = parser().parse_args(given)
    if args.command == "show":
        return flags.guarded(lambda: show(args))
    return flags.guarded(lambda: flags.on_aws(lambda: make(args)) if args.upload else make(args))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = flags.script(__doc__)
    commands = p.add_subparsers(title="commands", metavar="COMMAND", required=True, dest="command")
    one = commands.add_parser("make", help="download published weights, or convert a file, into a .safetensors file")
    one.add_argument("network", help="of torchvision, timm/NAME, torchxrayvision/NAME, or a weights file to convert")
    one.add_argument("--out", type=Path, required=True, metavar="FILE", help="where to write, a .safetensors file")
    one.add_argument(
        "--version", default="", metavar="NAME", help="torchvision's, such as IMAGENET1K_V1; default: its best"
    )
    one.add_argument(
        "--upload",
        nargs="?",
        const=_DEFAULT,
        default="",
        metavar="s3://BUCKET/PREFIX",
        help="also put it there (without an address: below the project's folder in the bucket)",
    )
    flags.add_settings(one, dry_run=False)
    other = commands.add_parser("show", help="what a file is: network, tensors, labels, channels, prefix")
    other.add_argument("file", type=Path, metavar="FILE", help="a weights file, an archive with one, or a bundle")
    other.add_argument("--json", action="store_true", help="as JSON")
    return p


def make(args: argparse.Namespace) -> int:
    """Fetches or converts, writes, and perhaps uploads."""
    from thorax_launch import pretrained

    pretrained.check_out(args.out)
    target = _target(args) if args.upload else None
    published = pretrained.fetch(args.network, args.version)
    size = pretrained.write(published, args.out)
    print(f"{args.out}: {counted(len(published.state), 'tensor')}, {size / 1e6:.1f} MB, {published.facts['source']}")
    place = str(args.out)
    if target is not None:
        place = target[0]
        _upload(args.out, *target)
    network = published.facts.get("network", "")
    chosen = f" --set network={network}" if network else ""
    print(f"to start from it: {command('train')} RECIPE --weights {place}{chosen}")
    return 0


def _target(args: argparse.Namespace) -> tuple[str, Any]:
    """(s3:// address of the file, the settings); asked for before anything is downloaded."""
    from thorax_launch.cli import aws
    from thorax_launch.sagemaker.account import completed

    if args.upload != _DEFAULT and not args.upload.startswith("s3://"):
        raise ThoraxError(f"--upload {args.upload} must be s3://BUCKET/PREFIX, or stand alone for the default bucket")
    args.dry_run = False
    settings = completed(aws.settings_of(args))
    folder = f"{settings.root}/weights" if args.upload == _DEFAULT else args.upload.rstrip("/")
    return (folder if folder.endswith(".safetensors") else f"{folder}/{args.out.name}"), settings


def _upload(file: Path, address: str, settings: Any) -> None:
    from thorax_launch.sagemaker.account import open_session
    from thorax_launch.sagemaker.package import Upload
    from thorax_launch.sagemaker.submission import upload_all

    upload_all([Upload(address, file)], open_session(settings), settings)
    print(f"{address}: uploaded")


def show(args: argparse.Namespace) -> int:
    """Prints what a file is."""
    from thorax.models.weights_summary import summary

    facts = summary(bundle_place(str(args.file)))
    if args.json:
        print(json.dumps(facts, indent=1, ensure_ascii=False))
        return 0
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key}: {one}" for key, one in value.items())
        print(f"{name:{width}}  {', '.join(map(str, value)) if isinstance(value, list) else value}")
    return 0
