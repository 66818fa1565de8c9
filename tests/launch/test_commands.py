"""One command, two ways to start it: `thorax NAME`, and launch/NAME.py of a checkout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT, clean_environment
from thorax_launch import cli, invocation

LAUNCH = ROOT / "launch"
SCRIPTS = sorted(path.stem for path in LAUNCH.glob("[!_]*.py"))


def test_every_command_has_its_script() -> None:
    assert sorted(cli.COMMANDS) == SCRIPTS


def test_a_script_puts_no_other_module_on_the_path(tmp_path: Path) -> None:
    """As a user's own code or a library would find them: evaluate is a package of others."""
    code = f"""
import runpy, sys
sys.path[0] = {str(LAUNCH)!r}  # as for `python launch/train.py`
sys.argv = [{str(LAUNCH / "train.py")!r}, "--help"]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit:
    pass
for name in ("evaluate", "local", "common", "aws", "dataset", "train", "cli", "train_model", "inference"):
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    print("found", name)
import thorax, thorax_launch
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environment(PYTHONPATH=""),
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: train.py " in done.stdout
    assert "found" not in done.stdout


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        (["/usr/bin/thorax", "train"], "thorax delete"),
        (["/x/thorax_launch/__main__.py", "train"], "thorax delete"),
        ([str(LAUNCH / "train.py"), "demo"], f"python {LAUNCH / 'delete.py'}"),
        (["/somewhere/notebook.py"], "thorax delete"),
    ],
)
def test_what_is_shown_is_how_it_was_started(argv: list[str], shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert invocation.command("delete") == shown
    assert invocation.examples("say python launch/delete.py chest") == f"say {shown} chest"


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_help_of_the_console_command_names_it(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/usr/bin/thorax", name, "--help"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: thorax {name} ")
    assert f"\n    thorax {name} " in shown
    assert "launch/" + name + ".py" not in shown


def test_a_script_is_named_as_the_user_named_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", ["launch/train.py"])
    assert invocation.command("delete") == "python launch/delete.py"
    monkeypatch.chdir(LAUNCH)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    assert invocation.command("delete") == "python delete.py"


def test_the_api_is_imported_when_it_is_used() -> None:
    code = """
import sys, thorax_launch
heavy = {"torch", "numpy", "yaml", "psutil", "boto3", "sagemaker"}
print(sorted(heavy & set(sys.modules)))
from thorax_launch import Recipe, local
print(Recipe.load("demo").name, thorax_launch.local is local, thorax_launch.sagemaker.__name__)
print(sorted(local.__all__))
thorax_launch.nothing
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=clean_environment()
    )
    assert done.stdout.splitlines() == [
        "[]",
        "demo True thorax_launch.sagemaker",
        "['LocalEndpoint', 'LocalFolds', 'LocalJob', 'LocalSearch', 'cross_validate', 'deploy', 'train', 'tune']",
    ]
    assert done.stderr.endswith("AttributeError: module 'thorax_launch' has no attribute 'nothing'\n")
