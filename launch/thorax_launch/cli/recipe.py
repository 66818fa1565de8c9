"""Recipes: list those that there are, write one of your own by five questions, or the schema that editors check it by.

examples:
    python launch/recipe.py list
    python launch/recipe.py new mine.yaml
    python launch/recipe.py new mine.yaml --defaults
    python launch/recipe.py schema > recipe.schema.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from thorax.errors import ThoraxError
from thorax.files import write_whole
from thorax_launch.cli import flags

#: Hyperparameter -> question and default answer.
QUESTIONS = {
    "network": ("network (resnet18, resnet50, densenet121, cnn5 ...)", "resnet18"),
    "image_shape": ("channels,height,width of what it sees", "1,224,224"),
    "epochs": ("epochs", "20"),
    "batch_size": ("images of a step", "32"),
}


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0, or 1 after an error (one line on standard error), 2 a wrong command line."""
    p = flags.script(__doc__)
    commands = p.add_subparsers(dest="command", required=True, metavar="list|new|schema")
    commands.add_parser("list", help="the recipes that come with the package")
    new = commands.add_parser("new", help="write one: five questions")
    new.add_argument("file", type=Path, metavar="FILE.yaml", help="the recipe to write")
    new.add_argument("--defaults", action="store_true", help="ask nothing: write the default answers")
    commands.add_parser("schema", help="the JSON schema of a recipe, for editors")
    args = p.parse_args(arguments)
    work = {"list": show, "new": lambda: write(args), "schema": print_schema}[args.command]
    return flags.guarded(work)


def show() -> int:
    """Name and summary of each."""
    from thorax_launch.recipe import Recipe, names  # late: --help is instant

    for name in names():
        print(f"{name:24} {Recipe.load(name).summary}")
    return 0


def print_schema() -> int:
    """The schema as JSON."""
    from thorax_launch.recipe_schema import schema  # late: --help is instant

    print(json.dumps(schema(), indent=1))
    return 0


def write(args: argparse.Namespace) -> int:
    """Asks, checks, writes; nothing is written where an answer is wrong or the file is there already."""
    from thorax_launch.invocation import command  # late: --help is instant
    from thorax_launch.recipe import Recipe

    file: Path = args.file
    if file.suffix not in (".yaml", ".yml"):
        raise ThoraxError(f"{file} must end with .yaml: a recipe is named by its file")
    if file.exists():
        raise ThoraxError(f"{file} is there already; choose another name, or edit it")
    if not args.defaults and not sys.stdin.isatty():
        raise ThoraxError("no terminal to ask on: give --defaults, and edit the file")
    summary = _asked("what it trains, in a sentence", "My images", args.defaults)
    values = {name: _asked(text, default, args.defaults) for name, (text, default) in QUESTIONS.items()}
    from thorax.config import TrainingConfig

    TrainingConfig.parse(values)
    text = "\n".join(
        [
            "# The keys are in docs/training.md; all hyperparameters in docs/hyperparameters.md.",
            "# yaml-language-server: $schema=recipe.schema.json",
            f"summary: {json.dumps(summary, ensure_ascii=False)}",
            "hyperparameters:",
            *(f"  {name}: {value}" for name, value in values.items()),
            "instance_type: ml.g5.xlarge",
            "max_hours: 4",
            "",
        ]
    )
    write_whole(text.encode(), file, "recipe")
    Recipe.load(str(file))
    print(f"wrote {file}; next: {command('train')} {file} --local --train DIR")
    return 0


def _asked(question: str, default: str, silent: bool) -> str:
    """The answer of the person at the terminal; an empty one is the default."""
    return default if silent else input(f"{question} [{default}]: ").strip() or default
