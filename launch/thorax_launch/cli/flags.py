"""Flags that several commands share."""

from __future__ import annotations

import argparse
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from thorax.console import CommandDone, add_tta, guarded
from thorax.errors import ThoraxError
from thorax.job import CHANNELS as KNOWN_CHANNELS
from thorax.serving.bundle_place import bundle_place
from thorax_launch.invocation import command
from thorax_launch.options import EndpointOptions, MachineOptions, TransformOptions, entries
from thorax_launch.settings import AwsSettings, pairs

__all__ = [
    "CommandDone",
    "add_tta",
    "guarded",
    "script",
]  # re-exported: the commands take all that they share from here

#: Signals that end a command in an orderly way: a cancelled CI job's, and a closed terminal's.
_ENDING = ("SIGTERM", "SIGHUP")
#: Channels with a flag of their own; --channel names any other.
CHANNELS = ("train", "validation", "test", "weights", "model")


class _Parser(argparse.ArgumentParser):
    """Says of an unknown flag that is a hyperparameter's name how the hyperparameter is given."""

    def error(self, message: str) -> NoReturn:
        words = message.partition("unrecognized arguments: ")[2].split()
        if words and words[0].startswith("--") and "--set" in self._option_string_actions:
            from thorax.config.parse import canonical, spellings  # late: --help is instant

            name, _, value = words[0].partition("=")
            if canonical(name) in spellings():
                following = words[1] if len(words) > 1 and not words[1].startswith("-") else "VALUE"
                message += f"; {canonical(name)} is a hyperparameter: --set {canonical(name)}={value or following}"
        super().error(message)


def script(document: str | None) -> argparse.ArgumentParser:
    """The parser of a command whose help is its module's docstring."""
    return _Parser(description=document, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)


def positive(flag: str, value: int | None) -> int | None:
    """The number; None where it was not given.

    Raises:
        ThoraxError: it is below 1.
    """
    if value is not None and value < 1:
        raise ThoraxError(f"{flag} {value} must be 1 or more")
    return value


def on_aws(work: Callable[[], int]) -> int:
    """`work` with a way out for everything: SIGTERM and SIGHUP raise in it once, as Ctrl-C does, so that it takes back
    what it began; what nobody foresaw is one line.

    Raises:
        ThoraxError: of the work; StoppedError after a signal.
    """
    from thorax_launch.sagemaker.endings import StoppedError, Terminated, unexpected  # late: --help is instant

    def end(number: int, _: Any) -> None:
        for name in before:
            signal.signal(getattr(signal, name), signal.SIG_IGN)  # once is enough; taking back goes on to its end
        raise Terminated(signal.Signals(number).name, number)

    before: dict[str, Any] = {}
    if threading.current_thread() is threading.main_thread():
        known = [name for name in _ENDING if hasattr(signal, name)]
        ignored = [name for name in known if signal.getsignal(getattr(signal, name)) == signal.SIG_IGN]  # nohup's
        before = {name: signal.signal(getattr(signal, name), end) for name in known if name not in ignored}
    try:
        return work()
    except Terminated as error:
        raise StoppedError(f"what runs: {command('status')}", error) from None
    except (ThoraxError, CommandDone, ModuleNotFoundError):
        raise
    except Exception as error:
        raise ThoraxError(f"{unexpected(error)}; what runs: {command('status')}") from error
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def for_aws(p: argparse.ArgumentParser, group: Any) -> Callable[..., None]:
    """A function that adds flags to `group`, each of which is refused beside --local; see check_local."""

    def add(flag: str, **words: Any) -> None:
        action = group.add_argument(flag, **words)
        p.set_defaults(aws_only=[*(p.get_default("aws_only") or []), (flag, action.dest, action.default)])

    return add


def check_local(args: argparse.Namespace) -> None:
    """Refuses flags of AWS beside --local, because a --dry-run would run there.

    Raises:
        ThoraxError: the first of them.
    """
    for flag, name, default in args.aws_only:
        if (value := getattr(args, name)) or (value is False and default is None):
            raise ThoraxError(f"{flag} is for AWS; leave it out, or leave --local out")


def add_options(add: Callable[..., None], table: type, negatable: bool = True) -> None:
    """A flag for each of a table of options; None where it is not given.

    Args:
        add: adds a flag; see for_aws.
        negatable: switches also have a --no- form.
    """
    for entry in entries(table):
        words: dict[str, Any] = {"dest": entry.name, "help": entry.option.help or None}
        if entry.kind is bool:
            action = argparse.BooleanOptionalAction if negatable else "store_true"
            words |= {"action": action, "default": None}
        elif entry.kind is dict:
            words |= {"action": "append", "default": [], "metavar": entry.option.metavar}
        elif entry.option.choices:
            words["choices"] = entry.option.choices
        else:
            words |= {"metavar": entry.option.metavar, "type": entry.kind if entry.kind in (int, float) else str}
        if entry.flag:
            add(entry.flag, **words)


def add_channels(p: argparse.ArgumentParser) -> None:
    """--train, --validation, --test, --weights, --model, --channel NAME=PATH."""
    g = p.add_argument_group("data (a folder; on AWS also s3://BUCKET/PREFIX; a folder is uploaded)")
    g.add_argument(
        "--train", metavar="PATH", help="training images; default with --local: the recipe's synthetic images"
    )
    g.add_argument("--validation", metavar="PATH", help="default: cut from the training images, by patient")
    g.add_argument("--test", metavar="PATH", help="images to score the best epoch on")
    g.add_argument("--weights", metavar="PATH", help="weights to start from, a torchvision state_dict")
    g.add_argument(
        "--model",
        metavar="PATH",
        help="an earlier job, its bundle or model.tar.gz to go on from (incremental training)",
    )
    g.add_argument(
        "--channel",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="another channel, such as train_lst=DIR; may be repeated",
    )


def channels(args: argparse.Namespace) -> dict[str, str]:
    """Channel -> path or address as given.

    Raises:
        ThoraxError: an empty path, --channel without one, of an unknown name, or a channel twice.
    """
    names = {other: name for name, others in KNOWN_CHANNELS.items() for other in others}
    found = {name: path for name in CHANNELS if (path := getattr(args, name)) is not None}
    if empty := [name for name, path in found.items() if not path]:
        raise ThoraxError(f"--{empty[0]} is empty; is a shell variable unset?")
    for text in args.channel:
        name, _, path = text.partition("=")
        if not path or name not in names:
            raise ThoraxError(f"--channel {text} must be NAME=PATH with a name of {', '.join(KNOWN_CHANNELS)}")
        name = names[name]
        if name in found:
            raise ThoraxError(f"channel {name} is given twice, {found[name]} and {path}; give it once")
        found[name] = path
    for name in ("weights", "model"):
        if name in found and "://" not in found[name]:
            found[name] = str(bundle_place(found[name]))
    return found


def local_channels(given: dict[str, str]) -> dict[str, Path]:
    """The channels of a job on this machine.

    Raises:
        ThoraxError: an address.
    """
    given = given | {name: str(bundle_place(path)) for name, path in given.items() if name == "model"}
    for name, path in given.items():
        if "://" in path:
            raise ThoraxError(
                f"--{name} {path}: --local reads folders of this machine; copy it first (aws s3 sync {path} DIR) and"
                " give DIR"
            )
    return {name: Path(path) for name, path in given.items()}


def add_local(
    p: argparse.ArgumentParser, text: str = "run here, through the real training toolkit; no account needed"
) -> None:
    """--local, which does what `text` says, and --runs."""
    g = p.add_argument_group("on this machine")
    g.add_argument("--local", action="store_true", help=text)
    g.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="DIR", help="folder of all local jobs (default: runs)"
    )


def job_in(runs: Path, name: str) -> tuple[Path, str]:
    """(the folder of all local jobs, the job's or search's name) of what a person writes: NAME or RUNS/NAME."""
    place = Path(name)
    return (place.parent, place.name) if len(place.parts) > 1 else (runs, name)


def add_machine(p: argparse.ArgumentParser) -> None:
    """What machine a job gets on AWS; each flag replaces the recipe's value."""
    add = for_aws(p, p.add_argument_group("machine on AWS (defaults: the recipe's)"))
    add_options(add, MachineOptions)
    add("--content-type", action="append", default=[], metavar="CHANNEL=TYPE", help="default: by the files")
    add("--env", action="append", default=[], metavar="NAME=VALUE", help="environment variable in the container")
    add(
        "--secret",
        action="append",
        default=[],
        metavar="NAME=PLACE",
        help="variable that the job fetches by name or ARN from Secrets Manager, or SSM (/PATH, ssm:NAME)",
    )
    add("--wheels", type=Path, metavar="DIR", help="wheels to install from, where the job has no network")
    add("--locked", action="store_true", help="install the exact versions of launch/locks, compared with their hashes")


def add_engine(p: Any) -> None:
    """--engine, of a server or of scoring on this machine."""
    p.add_argument(
        "--engine",
        choices=("auto", "torch", "openvino"),
        default="auto",
        help="auto: OpenVINO where the bundle holds its files (`thorax optimize`), else torch; default: auto",
    )


def add_settings(p: argparse.ArgumentParser, dry_run: bool = True, json: bool = True, full: bool = True) -> None:
    """Where on AWS: flags over thorax.yaml over the SDK's config.yaml over the session; and what asks before it sends.

    Args:
        dry_run: whether the command sends anything, so that --dry-run and --yes say something.
        json: whether --json shows the requests of --dry-run; not where the command has a --json of its own.
        full: whether --full names every file; not where the command has a --full of its own.
    """
    group = p.add_argument_group("account (flags > thorax.yaml > SageMaker SDK config.yaml > AWS session)")
    add = for_aws(p, group)
    add(
        "--settings",
        type=Path,
        metavar="FILE",
        help="settings file (default: thorax.yaml in this folder, if there is one)",
    )
    add_options(add, AwsSettings)
    add("--explain-settings", action="store_true", help="show every setting and where it comes from, and end")
    if not dry_run:
        return
    add(
        "--dry-run",
        action="store_true",
        help="say what would be made, uploaded and paid at most, and end; no network, no credentials",
    )
    add_shown(add, json, full)
    add("--yes", action="store_true", help="start without asking")


def add_shown(add: Callable[..., object], json: bool = True, full: bool = True) -> None:
    """How --dry-run is shown: with `full` by --full, with `json` by --json.

    Args:
        add: adds a flag.
    """
    if json:
        words = "with --dry-run: the exact requests as JSON (so too into a file or a pipe)"
        add("--json", action="store_true", help=words)
    if full:
        add("--full", action="store_true", help="with --dry-run: name every file to upload")


def add_place(p: argparse.ArgumentParser) -> None:
    """Where on AWS to look: --profile and --region."""
    add = for_aws(p, p)
    add("--profile", default="", metavar="NAME", help="AWS profile")
    add("--region", default="", metavar="REGION")


def add_endpoint(p: argparse.ArgumentParser) -> None:
    """What an endpoint is made of."""
    add_options(for_aws(p, p.add_argument_group("endpoint on AWS")), EndpointOptions, negatable=False)


def add_transform(p: argparse.ArgumentParser) -> None:
    """What a batch transform runs on."""
    add = for_aws(p, p.add_argument_group("batch transform on AWS"))
    add_options(add, TransformOptions)
    add("--wait", action="store_true", help="until it is done; then write the table")


def options_of(args: argparse.Namespace, table: type) -> dict[str, Any]:
    """The options of a table that the command line gives."""
    given = {entry.name: value for entry in entries(table) if (value := getattr(args, entry.name)) is not None}
    for entry in entries(table):
        if entry.kind is dict:
            given[entry.name] = pairs(entry.flag, given[entry.name])
    return given
