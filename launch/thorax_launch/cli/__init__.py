"""The command `thorax`: each of its commands is a module here with main(arguments) -> exit code."""

from __future__ import annotations

import difflib
import importlib
import sys

import thorax
from thorax.console import guarded
from thorax_launch.extras import missing
from thorax_launch.invocation import examples

COMMANDS = {
    "demo": "train on synthetic images here, and serve the result",
    "prepare": "check, split, pack and upload images",
    "train": "train a recipe, here or on SageMaker",
    "folds": "the folds of a cross-validation on SageMaker, put together",
    "lr-find": "find a learning rate in a hundred steps, here",
    "tune": "search hyperparameters, here or on SageMaker",
    "leaderboard": "the jobs of a search, best first",
    "recipe": "list recipes, write one by five questions, a schema for editors",
    "runs": "all runs on this machine: when, how good, how long",
    "open": "the report of a run on this machine, in the browser",
    "cost": "what a recipe's search, training and endpoint will cost",
    "status": "what runs on SageMaker, since when, and what it cost so far",
    "follow": "the log and the end of what runs on SageMaker",
    "stop": "stop what runs on SageMaker",
    "evaluate": "score a bundle on labelled images",
    "compare": "several runs in one table: AUC, differences, time, cost",
    "ensemble": "one bundle of several, with one calibrated answer",
    "optimize": "write a faster int8 network into a bundle",
    "verify": "is a bundle as it was written: hashes and signature",
    "deploy": "serve a bundle, here or as an endpoint",
    "predict": "images to a bundle, a server or an endpoint",
    "batch": "score a folder of images, here or as a batch transform",
    "pipeline": "check, train, evaluate, register if better",
    "registry": "list, approve and compare registered bundles",
    "weights": "make a file of published weights, or show what a file is",
    "wheels": "fetch the packages of a job without a network",
    "delete": "delete an endpoint, or everything of this project that is billed",
    "iam": "print IAM policies with least rights",
}


def main(arguments: list[str] | None = None) -> int:
    """Runs one command.

    Returns:
        Its exit code; 2 for a wrong command line.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    match given:
        case [] | ["-h" | "--help"]:
            return guarded(_print_help)
        case ["--version"]:
            print(f"thorax {thorax.__version__}")
            return 0
        case [name, *rest] if name in COMMANDS:
            sys.argv[0] = f"thorax {name}"  # what a usage line begins with
            return run(name, rest)
    nearest = difflib.get_close_matches(given[0], COMMANDS, n=1)
    hint = f"; did you mean {nearest[0]}?" if nearest else f"; the commands are {', '.join(COMMANDS)}"
    print(f"error: {given[0]} is not a command of thorax{hint}", file=sys.stderr)
    return 2


def run(name: str, arguments: list[str] | None = None) -> int:
    """Runs the command of that name; its help shows commands as the user starts them, a missing package is one line.

    Returns:
        Its exit code.
    """
    module = importlib.import_module(f"thorax_launch.cli.{name.replace('-', '_')}")
    module.__doc__ = examples(module.__doc__ or "")
    try:
        return int(module.main(arguments))
    except ModuleNotFoundError as error:
        print(f"error: {missing(error)}", file=sys.stderr)
        return 1


def _print_help() -> int:
    about = (thorax.__doc__ or "").splitlines()[0].removeprefix("Thorax: ")
    print(f"usage: thorax COMMAND ...\n\n{about[:1].upper()}{about[1:]}\n\ncommands:")
    for name, does in COMMANDS.items():
        print(f"  {name:12} {does}")
    print("\n`thorax COMMAND --help` shows the options of one.")
    return 0
