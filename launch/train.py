"""Train a recipe: on this machine with --local, in a job directory laid out as a SageMaker container's /opt/ml.

examples:
    python launch/train.py pneumonia-resnet18 --local --train DIR --test DIR
    python launch/train.py demo --local --set epochs=3 --job-name first
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import _path  # noqa: F401  puts source_dir on the path
from thorax.errors import ThoraxError

CHANNELS = ("train", "validation", "test", "weights")


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 an error (told in the last line), 2 a wrong command line, 130 stopped."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    args = parser().parse_args(given)
    if not args.local:
        print("error: this version runs jobs on this machine only; add --local", file=sys.stderr)
        return 2
    from local.training import train  # late: --help is instant
    from recipe import Recipe

    try:
        return train(
            Recipe.load(args.recipe),
            runs=args.runs,
            job_name=args.job_name,
            channels=channels(args),
            settings=args.set,
            processes=args.processes,
            resume_command=again(given, args.job_name),
        )
    except ThoraxError as error:
        sys.stdout.flush()
        print(f"error: {error}", file=sys.stderr)
        return 1


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    p.add_argument("recipe", help="a name in launch/recipes, or a path to a YAML file")
    p.add_argument("--local", action="store_true", help="run on this machine, through the real training toolkit")
    p.add_argument("--train", type=Path, metavar="DIR", help="training films; default: the recipe's synthetic films")
    p.add_argument("--validation", type=Path, metavar="DIR", help="default: cut from the training films, by patient")
    p.add_argument("--test", type=Path, metavar="DIR", help="films to score the best epoch on")
    p.add_argument("--weights", type=Path, metavar="FILE_OR_DIR", help="weights to start from, a torchvision state_dict")
    p.add_argument("--channel", action="append", default=[], metavar="NAME=PATH", help="any other channel, such as train_lst=DIR; may be repeated")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a hyperparameter; may be repeated")
    p.add_argument("--job-name", metavar="NAME", help="default: recipe and time; the name of a stopped job resumes it")
    p.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR", help="folder of all local jobs (default: runs)")
    p.add_argument("--processes", type=int, default=1, metavar="N", help="processes that train together, under torchrun")
    return p


def channels(args: argparse.Namespace) -> dict[str, Path]:
    """Every channel that the command line names, by the trainer's name for it.

    Raises:
        ThoraxError: a --channel without a path, of an unknown name, or given twice.
    """
    from thorax.job import CHANNELS as KNOWN

    names = {other: name for name, others in KNOWN.items() for other in others}
    found: dict[str, Path] = {name: path for name in CHANNELS if (path := getattr(args, name))}
    for text in args.channel:
        name, _, path = text.partition("=")
        if not path or name not in names:
            raise ThoraxError(f"--channel {text} must be NAME=PATH with a name of {', '.join(KNOWN)}")
        if names[name] in found:
            raise ThoraxError(f"channel {names[name]} is given twice, {found[names[name]]} and {path}; give it once")
        found[names[name]] = Path(path)
    return found


def again(arguments: list[str], job_name: str | None) -> str:
    """The command that resumes this run; {name} stands for the job's name."""
    command = shlex.join([*([] if sys.argv[0] == "" else ["python", sys.argv[0]]), *arguments]).replace("{", "{{").replace("}", "}}")
    return command if job_name else f"{command} --job-name {{name}}"


if __name__ == "__main__":
    sys.exit(main())
