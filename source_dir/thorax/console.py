"""How a command starts and ends: its parser, its exit code, and a mistake as one line instead of a traceback."""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from thorax.errors import ThoraxError, deprecated
from thorax.job import environment
from thorax.secrets import mask, remember_own
from thorax.shown import protected


class CommandDone(Exception):  # noqa: N818  no error
    """Everything asked for is printed; the command ends with exit code 0."""


def script(document: str | None) -> argparse.ArgumentParser:
    """The parser of a command whose help is its module's docstring."""
    return argparse.ArgumentParser(
        description=document, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )


def bundle_script(document: str | None, program: str | None, data: str) -> argparse.ArgumentParser:
    """As `script`, of a command about a bundle and labelled images: bundle, data, data_format and labels.

    Args:
        program: the command's name in the usage line; None: that of the script.
        data: the help of --data.
    """
    p = script(document)
    p.prog = program or p.prog
    p.add_argument("bundle", type=Path, help="the model folder of a finished job, or the job's folder")
    p.add_argument("--data", type=Path, metavar="DIR_OR_TABLE", help=data)
    p.add_argument(
        "--data-format", default="auto", metavar="FORMAT", help="format of --data (default: auto, look at it)"
    )
    p.add_argument(
        "--labels",
        type=comma_list,
        default=(),
        metavar="A,B,...",
        help="names of numbered labels of --data (.lst, RecordIO), in order",
    )
    return p


def comma_list(text: str) -> tuple[str, ...]:
    """The names in `a, b`; empty ones are left out."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


class OldSpelling(argparse.Action):
    """A former spelling of a flag: it works, with one deprecation line, and is not in --help."""

    def __init__(self, option_strings: list[str], dest: str, *, new: str, value: Any = None, **options: Any) -> None:
        """
        Args:
            new: the flag's spelling now.
            value: what it sets, for a flag that takes none.
        """
        nargs = None if value is None else 0
        super().__init__(option_strings, dest, nargs, default=argparse.SUPPRESS, help=argparse.SUPPRESS, **options)
        self.new, self.value = new, value

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        deprecated(str(option_string), self.new)
        setattr(namespace, self.dest, values if self.value is None else self.value)


def add_tta(p: Any) -> None:
    """--tta, of scoring and serving on this machine."""
    p.add_argument(
        "--tta",
        type=int,
        metavar="N",
        help="score each image in N views, slightly moved, turned and scaled, and average their logits: N times the"
        " cost; default: as the bundle was made (hyperparameter tta)",
    )


def columns() -> int | None:
    """Columns of the terminal that a person reads; None for a file or a pipe, but where COLUMNS says otherwise."""
    terminal = shutil.get_terminal_size((0, 0))  # heeds COLUMNS
    return terminal.columns if terminal.columns and (sys.stdout.isatty() or environment().get("COLUMNS")) else None


def guarded(work: Callable[[], int], stopped: str = "stopped by Ctrl-C") -> int:
    """The exit code of `work`: its own; a ThoraxError's (1), which is one line on standard error; 130 after Ctrl-C.

    A closed pipe (`| head`) is no error: the work goes on to its end, and its further output is dropped.

    Args:
        work: does the command and returns its exit code.
        stopped: the line on standard error after Ctrl-C.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and stream is getattr(sys, f"__{name}__"):  # not a test's or a notebook's
            setattr(sys, name, protected(stream, _Output(stream.fileno(), "w", closefd=False)))
    remember_own(environment())
    try:
        return work()
    except CommandDone:
        return 0
    except KeyboardInterrupt:
        print(stopped, file=sys.stderr)
        return 130
    except ThoraxError as error:
        sys.stdout.flush()
        print(mask(f"error: {error}"), file=sys.stderr)
        return error.exit_code


class _Output(io.FileIO):
    """Drops what is written after the reader has closed the pipe."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes
