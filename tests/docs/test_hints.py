"""Every hint can be followed: a message names only flags that its command has, and commands that are understood."""

from __future__ import annotations

import argparse
import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from thorax_launch import cli

ROOT = Path(__file__).resolve().parents[2]
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
#: Programs that are not ours, whose flags messages name as well.
OTHERS = re.compile(r"`?(?:pip install|tensorboard |uv |aws |apt-get|make |docker |git )[^;`]*")
#: Options of train_model.py that are not hyperparameters, and of the modules that run in a container.
SCRIPTS = {
    "--model-dir",
    "--checkpoint-dir",
    "--output-data-dir",
    "--upload",
    "--host",
    "--held-out",
    "--test-lst",
    "--train-lst",
} | {
    *("--name", "--no-index", "--find-links", "--hash")  # a placeholder, and lines of a requirements.txt
}


class Parsed(Exception):  # noqa: N818  no error
    """The command line is right."""


def parsers_of(name: str, monkeypatch: pytest.MonkeyPatch) -> list[argparse.ArgumentParser]:
    """The parser of a command and those of its subcommands."""
    found: list[argparse.ArgumentParser] = []

    def parse(self, *args, **kwargs):
        found.append(self)
        raise Parsed

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse)
        with pytest.raises(Parsed):
            importlib.import_module(f"thorax_launch.cli.{name.replace('-', '_')}").main([])
    for parser in list(found):
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                found += action.choices.values()
    return found


@pytest.fixture(scope="module")
def flags_of() -> dict[str, set[str]]:
    """Command -> its flags, subcommands' included."""
    with pytest.MonkeyPatch.context() as patch:
        return {
            name: {flag for parser in parsers_of(name, patch) for flag in parser._option_string_actions}
            for name in cli.COMMANDS
        }


def texts(file: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every string of a file that is no docstring; of f-strings the parts that stand there, joined."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "X" for part in node.values)
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs | inside:
            yield node.lineno, node.value


FILES = [
    file
    for folder in ("launch/thorax_launch", "source_dir/thorax")
    for file in sorted((ROOT / folder).rglob("*.py"))
    if "hyperparameters" not in file.name
]


def test_every_flag_that_a_message_names_is_a_flag_of_ours(flags_of):
    known = set().union(*flags_of.values()) | SCRIPTS
    strange = [
        f"{file.relative_to(ROOT)}:{line}: {flag}"
        for file in FILES
        for line, text in texts(file)
        if " " in text and "var(--" not in text
        for flag in FLAG.findall(OTHERS.sub("", text))
        if flag not in known and not flag.endswith("-")
    ]
    assert strange == []


def test_commands_that_a_message_names_are_understood(flags_of):
    """`thorax COMMAND ...` between backticks: the command is there, and has the flags."""
    wrong, seen = [], 0
    for file in FILES:
        for line, text in texts(file):
            for words in re.findall(r"`(thorax [^`]+)`", text):
                seen += 1
                _, name, *rest = shlex.split(words.replace("X", "x"))
                given = {word for word in rest if word.startswith("--")}
                if name.isupper() or name == "x":
                    continue
                if name not in flags_of or not given <= flags_of[name]:
                    wrong.append(f"{file.relative_to(ROOT)}:{line}: {words}")
    assert wrong == [] and seen > 5


#: What a person does in the first hour without having read anything, and the command that must not send them astray.
WRONG = [
    ["train", "demo"],
    ["train", "demo", "--train", "."],
    ["train", "demo", "--local", "--train", "nowhere"],
    ["train", "demo", "--local", "--region", "us-east-1"],
    ["train", "demo", "--local", "--job-name", "a_b"],
    ["tune", "demo", "--local"],
    ["tune", "demo"],
    ["iam", "trust"],
    ["iam", "launcher"],
    ["deploy", "runs/none"],
    ["deploy", "runs/none", "--local"],
    ["batch", "runs/none", "--data", "nowhere", "--out", "o.csv"],
    ["batch", "--local", "runs/none", "--data", "nowhere", "--out", "o.csv"],
    ["evaluate", "runs/none", "--data", "nowhere"],
    ["evaluate", "runs/none"],
    ["predict", "runs/none", "nowhere.png"],
    ["optimize", "runs/none"],
    ["pipeline", "demo", "--local"],
    ["pipeline", "demo"],
    ["leaderboard", "none", "--local"],
    ["leaderboard", "none"],
    ["runs", "--runs", "nowhere"],
    ["open", "none"],
    ["status"],
    ["stop", "none"],
    ["follow", "none"],
    ["cost", "demo"],
    ["delete", "none"],
    ["registry", "list", "group"],
    ["prepare", "check", "--train", "nowhere"],
    ["wheels", "x", "--requirements", "nowhere"],
]


@pytest.mark.parametrize("words", WRONG, ids=" ".join)
def test_a_refusal_names_only_flags_of_its_command(words, flags_of, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    try:
        cli.main(words)
    except SystemExit:
        pass
    said = capsys.readouterr()
    message = [line for line in said.err.splitlines() if "error: " in line or line.startswith("note: ")]
    for line in message:
        for part in re.split(r"(?=`thorax )", line):
            named = re.match(r"`thorax ([a-z-]+)", part)
            command = named[1] if named else words[0]
            assert {*FLAG.findall(OTHERS.sub("", part))} <= flags_of[command], line


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["train", "demo", "--local", "--epochs", "2"], "epochs is a hyperparameter: --set epochs=2"),
        (["train", "demo", "--batch-size=8"], "batch_size is a hyperparameter: --set batch_size=8"),
        (["tune", "demo", "--lr", "0.1"], "lr is a hyperparameter: --set lr=0.1"),
        (["demo", "--epochs", "2"], "epochs is a hyperparameter: --set epochs=2"),
    ],
)
def test_a_hyperparameter_as_a_flag_says_how_it_is_given(words, hint, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err.rstrip().endswith(hint)
