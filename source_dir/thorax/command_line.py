"""The trainer's command line: paths of the job, and hyperparameters in any spelling."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from thorax.config.fields import kind, read_names
from thorax.config.parse import canonical, spellings
from thorax.config.reference import help_text
from thorax.errors import ThoraxError
from thorax.job import PATHS

_USAGE = """usage: python train_model.py --train DIR --model-dir OUT [--validation DIR] [--test DIR]
                      [--weights FILE_OR_DIR] [--output-data-dir DIR] [--checkpoint-dir DIR]
                      [--HYPERPARAMETER VALUE ...]

Trains a chest X-ray (or other image) classifier and writes a bundle into OUT. Without --output-data-dir and
--checkpoint-dir, those lie in OUT-job. A run with a checkpoint folder that is not empty is resumed. The reason of a
failure is written to standard error and to OUT-job/output/failure.

  --train DIR            images for training, in any format of docs/data.md: a folder per class, a table, .lst, .rec ...
  --validation DIR       images that choose epoch and threshold (default: cut from train by patient)
  --test DIR             images that are scored once, at the end
  --train-lst DIR        the .lst of --train, where it lies in a folder of its own
  --validation-lst DIR   the same of --validation
  --test-lst DIR         the same of --test
  --weights FILE_OR_DIR  state_dict in torchvision's layout to start from
  --model FILE_OR_DIR    an earlier run's bundle or model.tar.gz to go on from; --weights goes before it
  --held-out FILE_OR_DIR held_out.npz of a cross-validation: train on all images, for its epochs, with its thresholds
"""


def show_help(argv: Sequence[str]) -> bool:
    """Whether help was asked for; then it is printed."""
    wanted = any(word in ("-h", "--help") for word in argv)
    if wanted:
        _show(_USAGE + "\nHyperparameters" + help_text())
    return wanted


def read_command_line(argv: Sequence[str], *, in_container: bool = False) -> tuple[dict[str, str], dict[str, str]]:
    """(paths, hyperparameters) as texts. Takes `--name value`, `--name=value`, "-" for "_", and the one-letter `-k 3`
    that the toolkit makes of one-letter keys; several words (a list that the toolkit split) are joined by commas.
    In a container a name alone has an empty value: the toolkit 5.1.1 writes empty texts so.

    Raises:
        ThoraxError: a word that belongs to no option, an option without a value, or one given twice with two values.
    """
    strays, options = _options(argv)
    if strays:
        raise ThoraxError(f"{strays[0]!r} belongs to no option; write --name value")
    if not in_container and (bare := names_alone(argv)):
        boolean = bare[0] in spellings() and kind(spellings()[bare[0]][0]) == "bool"
        raise ThoraxError(f"--{bare[0]} has no value; write --{bare[0]} {'true' if boolean else 'VALUE'}")
    texts: dict[str, str] = {}
    for name, text in options:
        if texts.setdefault(name, text) != text:
            raise ThoraxError(f"--{name} is given twice, as {texts[name]!r} and as {text!r}; give it once")
    others = {other for path, names in PATHS.items() for other in (path, *names)}
    hyperparameters = {key: text for key, text in texts.items() if key not in others}
    paths: dict[str, str] = {}
    for path, names in PATHS.items():
        given = [name for name in (path, *names) if texts.get(name)]
        if len({texts[name] for name in given}) > 1:
            raise ThoraxError(
                f"--{given[0]} {texts[given[0]]} and --{given[1]} {texts[given[1]]} are two spellings of one path; give"
                " one of them"
            )
        if given:
            paths[path] = texts[given[0]]
    if paths.get("weights"):
        hyperparameters["weights"] = paths["weights"]
    return paths, hyperparameters


def names_alone(argv: Sequence[str]) -> list[str]:
    """The known options that no value follows."""
    paths = {other for path, names in PATHS.items() for other in (path, *names)}
    return [name for name, words in _words(argv)[1] if not words and (name in paths or name in spellings())]


def read_model_dir(argv: Sequence[str]) -> dict[str, str]:
    """--model-dir alone, of any command line, however wrong: the error is written there. Empty without one."""
    given = [text for name, text in _options(argv)[1] if name == "model_dir" and text and "://" not in text]
    return {"model_dir": given[0]} if given else {}


def _options(argv: Sequence[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """(words before the first option, [(name, text) of each option in order])."""
    strays, options = _words(argv)
    return strays, [(name, _join(values)) for name, values in options]


def _words(argv: Sequence[str]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """(words before the first option, [(name, its words) of each option in order])."""
    strays: list[str] = []
    options: list[tuple[str, list[str]]] = []
    for word in argv:
        if _is_option(word):
            name, equals, text = word.partition("=")
            options.append((canonical(name), [text] if equals else []))
        else:
            (options[-1][1] if options else strays).append(word)
    return strays, options


def _is_option(word: str) -> bool:
    if word.startswith("--") and len(word) > 2:
        return True
    return len(word) > 1 and word[0] == "-" and word[1].isalpha()


def _join(values: list[str]) -> str:
    """One value as it is; several as one comma list."""
    if len(values) == 1:
        return values[0]
    return ",".join(part for value in values for part in read_names(value))


def _show(text: str) -> None:
    """Prints; a reader that has seen enough (`| head`) is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # takes the rest, which Python writes as it ends
