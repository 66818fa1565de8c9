"""deploy.py and the end of the demo: a real app, asked over HTTP, stopped by Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys

import pytest

import images
from conftest import ROOT, clean_environment
from thorax.errors import ThoraxError
from thorax_launch import local
from thorax_launch.cli import demo, deploy, predict


def test_an_app_answers_until_it_is_stopped(bundle, tmp_path, capsys):
    words = [sys.executable, str(ROOT / "launch" / "deploy.py"), "--local", str(bundle), "--port", "0"]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean_environment()
    )
    found = (re.search(r"http://127\.0\.0\.1:\d+/", line) for line in process.stdout)  # the engine's line is first
    address = next(match for match in found if match)[0]
    shelf = images.folders(tmp_path / "test", NORMAL=["a.png"], PNEUMONIA=["b.png"])
    assert predict.main([address, str(shelf), "--json"]) == 0
    assert predict.main([str(bundle), str(shelf), "--json"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == shown[2:]
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=30)
    assert (process.returncode, rest) == (0, "")


def test_the_demo_ends_with_the_app_and_three_commands(bundle, tmp_path, capsys):
    images.folders(tmp_path, PNEUMONIA=["b.png"])
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert demo.serve(bundle, tmp_path / "PNEUMONIA" / "b.png", stay=False) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    shown = capsys.readouterr().out
    address = re.search(r"POST (http://127\.0\.0\.1:\d+/)invocations", shown)[1]
    assert all(text in shown for text in ("b.png", "PNEUMONIA (threshold 0.500)", f"web page: {address}   no terminal"))
    assert [line.split("  ")[-1].strip() for line in shown.splitlines()[-3:]] == [
        f"thorax deploy --local {bundle}",
        f"thorax predict {bundle} {tmp_path / 'PNEUMONIA' / 'b.png'} --explain maps",
        "thorax train pneumonia-resnet18 --local --train DIR --test DIR",
    ]


def test_an_endpoint_of_this_machine_is_a_handle(bundle, tmp_path):
    images.put(tmp_path / "a.png", seed=1)
    with local.deploy(bundle) as endpoint:
        by_path, by_bytes = endpoint.predict([tmp_path / "a.png", (tmp_path / "a.png").read_bytes()])
        with pytest.raises(ThoraxError, match=r"^image 1: "):
            endpoint.predict([b"no image"])
        with pytest.raises(ThoraxError, match=r"^nowhere\.png cannot be read: No such file"):
            endpoint.predict(["nowhere.png"])
    assert by_path["probabilities"] == by_bytes["probabilities"]
    assert by_path["labels"] == ["PNEUMONIA"]
    with pytest.raises(ThoraxError, match="does not answer"):
        endpoint.predict([tmp_path / "a.png"])


@pytest.fixture
def server(monkeypatch, tmp_path):
    """Puts a program in the place of `thorax deploy --local`."""

    def put(code: str) -> None:
        (tmp_path / "server.py").write_text(code)
        words = [sys.executable, str(tmp_path / "server.py")]
        monkeypatch.setattr("thorax_launch.local.endpoints.child_command", lambda name: words)

    return put


SERVER = """
import http.server, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args):
        pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
open({pid!r}, "w").write(str(os.getpid()))
print(f"serving at http://127.0.0.1:{{server.server_port}}/", flush=True)
server.serve_forever()
"""


def test_an_endpoint_is_deleted_at_the_end_of_the_block(server, tmp_path):
    server(SERVER.format(pid=str(tmp_path / "pid")))
    with local.deploy(tmp_path) as endpoint:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", endpoint.address)
        pid = int((tmp_path / "pid").read_text())
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('error: no bundle there', file=sys.stderr); sys.exit(1)", "^no bundle there$"),
        ("print('serving at http://127.0.0.1:9/'); sys.exit(3)", "http://127.0.0.1:9/ ended with exit code 3"),
    ],
)
def test_a_server_that_does_not_start_says_why(code, message, server, tmp_path):
    server(f"import sys\n{code}")
    with pytest.raises(ThoraxError, match=message):
        local.deploy(tmp_path)


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
