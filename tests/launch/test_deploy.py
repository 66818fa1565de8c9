"""deploy.py and the end of the demo: a real app, asked over HTTP, stopped by Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import nullcontext

import pytest

import images
from conftest import ROOT, clean_environment
from thorax.errors import ThoraxError
from thorax_launch.cli import demo, deploy, predict
from thorax_launch.local import running_app


def test_an_app_answers_until_it_is_stopped(bundle, tmp_path, monkeypatch, capsys):
    """As deploy.py starts it, and as the demo ends with it."""
    words = [sys.executable, str(ROOT / "launch" / "deploy.py"), "--local", str(bundle), "--port", "0"]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean_environment()
    )
    address = re.search(r"http://127\.0\.0\.1:\d+/", process.stdout.readline())[0]
    shelf = images.folders(tmp_path / "test", NORMAL=["a.png"], PNEUMONIA=["b.png"])
    assert predict.main([address, str(shelf), "--json"]) == 0
    assert predict.main([str(bundle), str(shelf), "--json"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[:2] == told[2:]

    monkeypatch.setattr(running_app, "running_app", lambda folder: nullcontext(address))
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert demo.serve(bundle, shelf, stay=False) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    said = capsys.readouterr().out
    assert all(
        text in said
        for text in (
            "b.png",
            "PNEUMONIA (cut 0.500)",
            f"web page: {address}",
            f"python launch/deploy.py --local {bundle}",
        )
    )

    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=30)
    assert (process.returncode, rest) == (0, "")


@pytest.fixture
def started(monkeypatch, tmp_path):
    """Puts a program in deploy.py's place."""

    def put(code: str) -> None:
        (tmp_path / "thorax_launch.py").write_text(code)
        monkeypatch.setattr(running_app, "child_environment", lambda: {**os.environ, "PYTHONPATH": str(tmp_path)})

    return put


def test_a_running_app_is_stopped_at_the_end(started, tmp_path):
    started(
        f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\nprint('serving at"
        " http://host:1/', flush=True)\ntime.sleep(99)"
    )
    with running_app.running_app(tmp_path) as address:
        assert address == "http://host:1/"
        pid = int((tmp_path / "pid").read_text())
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_an_app_that_does_not_start_says_why(started, tmp_path):
    started("import sys\nprint('error: no bundle there', file=sys.stderr)\nsys.exit(1)")
    with pytest.raises(ThoraxError, match=r"^no bundle there$"), running_app.running_app(tmp_path):
        pass


def test_a_broken_bundle_fails_in_one_line(tmp_path, capsys):
    assert deploy.main(["--local", str(tmp_path)]) == 1
    assert (
        capsys.readouterr().err
        == f"error: {tmp_path} is not a bundle: it has no bundle.json; name the model folder of a finished job\n"
    )


def test_a_port_that_is_taken(bundle, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert deploy.main(["--local", str(bundle), "--port", str(taken.getsockname()[1])]) == 1
    error = capsys.readouterr().err
    assert "choose another" in error and error.count("\n") == 1


def test_without_local(capsys, monkeypatch, tmp_path):
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    assert deploy.main(["somewhere"]) == 1
    assert "add --local" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["deploy", "predict", "batch", "demo"])
def test_help_imports_nothing_heavy(name):
    """So --help is instant."""
    code = f"""import sys, runpy
sys.path.insert(0, 'launch')
sys.argv = ['{name}.py', '--help']
try:
    runpy.run_path('launch/{name}.py', run_name='__main__')
except SystemExit:
    print({{'torch', 'numpy', 'boto3', 'rich', 'PIL', 'uvicorn'}} & set(sys.modules))"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.rstrip().endswith("set()"), done.stdout + done.stderr
    assert len((ROOT / "launch" / f"{name}.py").read_text().splitlines()) < 100
