"""docs/from-the-originals.md: every row names a test that is there, and its command runs.

Rows that ask AWS are run in tests/aws/test_from_the_originals.py.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import io
import os
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import botocore.loaders
import pytest
import requests

import originals
from originals import ELSEWHERE, ROOT, Row
from thorax_launch import cli
from thorax_launch.local.serve_app import serve
from thorax_launch.sagemaker import package
from warm_python import PYTHON

ROWS = originals.rows()
HERE = [row for row in ROWS if not originals.needs_account(row.ours) and row.thing not in ELSEWHERE]
LOCAL_TRAINING = "thorax train own.yaml --local --train chest_xray/train --test chest_xray/test --job-name first"
SERVER = "http://127.0.0.1:8080"


def test_the_page_is_whole() -> None:
    assert len(ROWS) >= 149
    assert [row.number for row in ROWS] == list(range(1, len(ROWS) + 1))
    things = [row.thing for row in ROWS]
    assert sorted(things) == sorted(set(things))


def test_what_runs_elsewhere_is_a_row() -> None:
    assert set(ELSEWHERE) <= {row.thing for row in ROWS}


def test_every_row_names_a_test() -> None:
    known: dict[str, set[str]] = {}
    for row in ROWS:
        file, _, name = row.test.partition("::")
        if file not in known:
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            known[file] = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert not name or name in known[file], row


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of all commands, with a run that was trained by the page's own command; no account."""
    root = tmp_path_factory.mktemp("originals")
    originals.write_workspace(root)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            patch.setenv(name, str(root / "aws.ini"))
        (root / "aws.ini").write_text("[default]\n")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setattr(botocore.loaders.JSONFileLoader, "load_file", lambda self, path: _load(path))
        patch.setattr(package, "packed", lambda files, level=9: _packed(tuple(sorted(files.items())), level))
        patch.setenv("PIP_NO_DEPS", "1")  # the toolkit's pip: a second instead of three
        patch.setattr(sys, "executable", PYTHON)
        patch.chdir(root)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
            assert cli.main(shlex.split(LOCAL_TRAINING)[1:]) == 0, said.getvalue()
        for name in ("predictions.csv", "cnn.csv"):
            shutil.copyfile("runs/first/output/data/predictions.csv", name)
        shutil.copytree("runs/first", "runs/second", copy_function=os.link)
        yield root
    shutil.rmtree(root)  # 100 MB of weights


@functools.cache
def _load(path: str) -> Any:
    """botocore's models, read once: they are megabytes, and every command reads them again."""
    return _LOAD(botocore.loaders.JSONFileLoader(), path)


@functools.cache
def _packed(files: tuple[tuple[str, bytes], ...], level: int) -> bytes:
    """The archive of the same files, made once: 130 commands send the same code."""
    return _PACKED(dict(files), level)


_LOAD = botocore.loaders.JSONFileLoader.load_file
_PACKED = package.packed


@pytest.fixture(scope="module")
def address(workspace: Path) -> str:
    """A server of the trained run in this process; it ends with the tests."""
    lines: list[str] = []
    up = threading.Event()

    def show(line: str) -> None:
        lines.append(line)
        up.set()

    threading.Thread(target=lambda: serve(Path("runs/first/model"), 0, show=show), daemon=True).start()
    assert up.wait(120)
    return lines[0].rpartition(" ")[2].rstrip("/")


@pytest.fixture(scope="module")
def done() -> dict[str, Any]:
    """Commands that were run already, and what they came to."""
    return {LOCAL_TRAINING: 0}


def curl(words: list[str]) -> bool:
    """What curl would do with these words; whether the answer was good."""
    headers, body, method = {}, None, "GET"
    while words and words[0].startswith("-"):
        flag, value, *words = words
        if flag == "-H":
            name, _, text = value.partition(": ")
            headers[name] = text
        else:
            assert flag == "--data-binary"
            body, method = Path(value.removeprefix("@")).read_bytes(), "POST"
    answer = requests.request(method, words[0], data=body, headers=headers, timeout=60)
    print(answer.text[:300])
    return answer.status_code == 200


def python(line: str) -> Any:
    """What a line of Python comes to."""
    import inference
    import thorax
    import thorax.dataset
    import thorax.job
    import thorax.models
    from thorax import Bundle, Classifier, TrainingConfig, evaluate
    from thorax_launch import sagemaker

    names = {"Bundle": Bundle, "Classifier": Classifier, "TrainingConfig": TrainingConfig, "evaluate": evaluate}
    return eval(
        line, {**names, "inference": inference, "thorax": thorax, "sagemaker": sagemaker, "root": ROOT, "Path": Path}
    )


def run(row: Row, request: pytest.FixtureRequest) -> bool:
    """Runs the row's command; whether it came to a good end."""
    command = row.ours
    if SERVER in command:
        command = command.replace(SERVER, request.getfixturevalue("address"))
    words = shlex.split(command) if command.startswith(("thorax ", "curl ", "make ")) else []
    match words:
        case ["thorax", *rest]:
            try:
                return cli.main(rest) == 0
            except SystemExit as ended:  # --help, --version
                return not ended.code
        case ["curl", *rest]:
            return curl(rest)
        case ["make", *targets]:
            return subprocess.run(["make", "-n", *targets], cwd=ROOT, capture_output=True).returncode == 0
    return python(command) is not False


@pytest.mark.parametrize("row", HERE, ids=lambda row: f"{row.number}: {row.thing}")
def test_the_command_of_a_row_runs(
    row: Row, workspace: Path, done: dict[str, Any], request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    if row.ours not in done:
        done[row.ours] = run(row, request)
    assert done[row.ours] is not False, "".join(capsys.readouterr())
