"""A bundle or a job by every name, at every door: the arguments that take one are found in the parsers themselves."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pytest

from thorax_launch.cli import COMMANDS
from untrained import untrained

PLACE = ["--region", "eu-central-1", "--bucket", "films", "--role", "arn:aws:iam::123456789012:role/thorax-execution"]
S3 = "s3://films/thorax/first/output/model.tar.gz"
FORMS = ("first", "runs/first", "runs/first/model", "model.tar.gz", S3)
#: Metavars and names of arguments that take a bundle, or a job with one.
_TAKES = re.compile(r"\b(BUNDLE2?|MODEL|JOB)\b")
#: (command, argument) -> words of a command line with NAME in it, its exit code, and what it says then.
DOORS: dict[tuple[str, str], tuple[str, int, str]] = {
    ("evaluate", "bundle"): ("NAME --data few/train --resamples 0", 0, "train: 4 images of 4 patients"),
    ("evaluate", "compare"): ("first --data few/train --compare NAME --resamples 0", 0, "B minus A"),
    ("ensemble", "bundles"): ("NAME second --data few/train --out made/NAME", 0, "wrote made/"),
    ("optimize", "bundle"): ("NAME --data nowhere", 1, "nowhere"),
    ("predict", "model"): ("NAME nowhere.png", 1, "nowhere.png does not exist"),
    ("batch", "local"): ("--local NAME --data nowhere --out o.csv", 1, "--data nowhere is not a folder"),
    ("batch", "bundle"): ("NAME --data few/train --out o.csv --dry-run", 0, "CreateTransformJob"),
    ("deploy", "bundle"): ("NAME --dry-run", 0, "CreateEndpoint"),
    ("deploy", "variant"): (
        "--variant a=NAME:50 --variant b=first:50 --endpoint-name e --dry-run",
        0,
        "CreateEndpoint",
    ),
    ("verify", "bundle"): ("NAME", 0, "as written"),
    ("deploy", "shadow"): ("first --shadow NAME:50 --dry-run", 0, "ShadowProductionVariants"),
    ("train", "model"): ("own.yaml --local --model NAME --train nowhere", 1, "--train nowhere does not exist"),
    ("tune", "model"): ("own.yaml --local --model NAME --train nowhere", 1, "--train nowhere does not exist"),
    ("lr-find", "model"): ("own.yaml --model NAME --train nowhere", 1, "--train nowhere does not exist"),
    ("pipeline", "model"): ("own.yaml --local --group g --model NAME --train nowhere --test few", 1, "nowhere is not"),
    ("open", "name"): ("NAME --print", 0, "runs/first/output/data/report.html"),
}
#: Arguments that take the name of a job on AWS, which has no folder here.
ON_AWS = {("train", "resume"), ("train", "again"), ("batch", "resume"), ("prepare", "resume")}
#: What a command says of a form that it has no use for.
REFUSED = {
    ("optimize", "model.tar.gz"): "model.tar.gz is an archive: unpack it",
    ("optimize", S3): "is an archive: unpack it",
    ("open", "model.tar.gz"): "is an archive, which has no report",
    ("open", S3): "is an archive, which has no report",
}
#: Doors that take seconds, or that go the way of another one: two forms.
_SLOW = {
    *(("evaluate", "bundle"), ("evaluate", "compare"), ("batch", "bundle"), ("batch", "local")),
    ("ensemble", "bundles"),
    *(("deploy", "bundle"), ("deploy", "shadow"), ("deploy", "variant")),
}


class FoundError(Exception):
    """A command's parser was made."""


def parsers(monkeypatch: pytest.MonkeyPatch) -> dict[str, argparse.ArgumentParser]:
    """The parser of every command, just before it would parse."""
    found: dict[str, argparse.ArgumentParser] = {}

    def parse(self: argparse.ArgumentParser, *_: Any, **__: Any) -> Any:
        raise FoundError(self)

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse)
        for name in COMMANDS:
            with pytest.raises(FoundError) as caught:
                importlib.import_module(f"thorax_launch.cli.{name.replace('-', '_')}").main([])
            found[name] = caught.value.args[0]
    return found


def below(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """All its arguments, those of its subcommands too."""
    found = []
    for action in parser._actions:
        found.append(action)
        if isinstance(action, argparse._SubParsersAction):
            found += [one for sub in action.choices.values() for one in below(sub)]
    return found


def test_every_argument_that_takes_a_bundle_or_a_job_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        (command, action.dest)
        for command, parser in parsers(monkeypatch).items()
        for action in below(parser)
        if _TAKES.search(str(action.metavar)) or action.dest in ("bundle", "model")
    }
    assert found - ON_AWS == {*DOORS}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, few: Path) -> Path:
    """A folder with runs/first, its archive, runs/second, a recipe, and a few images."""
    root = tmp_path_factory.mktemp("names")
    untrained(root / "runs/first/model")
    untrained(root / "runs/second/model", seed=1)
    report = root / "runs/first/output/data/report.html"
    report.parent.mkdir(parents=True)
    report.write_text("<html>")
    with tarfile.open(root / "model.tar.gz", "w:gz", compresslevel=1) as tar:
        tar.add(root / "runs/first/model", ".")
    (root / "own.yaml").write_text("tune: {max_jobs: 1, ranges: {batch_size: {choices: [8, 16]}}}\n")
    from conftest import write_images

    write_images(root / "few/train", 2, seed=1)
    return root


@pytest.mark.parametrize("door", DOORS, ids=" ".join)
def test_it_is_taken(door: tuple[str, str], place: Path, aws: Any, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """Each gets as far as the next thing that is missing, which is not the bundle."""
    monkeypatch.chdir(place)
    aws.client("s3").upload_file("model.tar.gz", "films", S3.removeprefix("s3://films/"))
    aws.calls.clear()
    command = importlib.import_module(f"thorax_launch.cli.{door[0].replace('-', '_')}")
    for form in (FORMS[0], S3) if door in _SLOW else FORMS:
        words, code, said = DOORS[door]
        if line := REFUSED.get((door[0], form)):
            code, said = 1, line
        given = [word.replace("NAME", form) for word in words.split()]
        given += PLACE if "--dry-run" in given else []
        assert command.main(given) == code, form
        shown = capsys.readouterr()
        assert said in shown.out + shown.err, form
        assert "--dry-run" not in given or json.loads(shown.out)


def test_a_server_of_this_machine_takes_it_too(place: Path, aws: Any, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    import uvicorn

    from thorax_launch.cli import deploy

    monkeypatch.chdir(place)
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    aws.client("s3").upload_file("model.tar.gz", "films", "thorax/first/output/model.tar.gz")
    aws.calls.clear()
    for form in ("first", S3):
        assert deploy.main(["--local", form, "--port", "0"]) == 0
        assert f"serving {form} at http://127.0.0.1:" in capsys.readouterr().out


def test_what_s3_does_not_have_is_one_line(place: Path, aws: Any, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from thorax_launch.cli import evaluate

    monkeypatch.chdir(place)
    for address, why in (
        (
            "s3://films/thorax/none/model.tar.gz",
            "s3://films/thorax/none/model.tar.gz cannot be fetched: there is no such object",
        ),
        ("s3://films/thorax/none/model", "is no address of a bundle; write s3://BUCKET/.../model.tar.gz"),
    ):
        assert evaluate.main([address, "--data", "few/train"]) == 1
        assert why in capsys.readouterr().err
