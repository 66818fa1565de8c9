"""A tiny bundle with classes, and a server and an endpoint around it in this process."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import images
import lambda_stand_ins
from hosting import tiny_bundle
from local_search import RECIPE, FakeToolkit, good
from thorax_launch.clients import BundleClient


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NORMAL or PNEUMONIA."""
    return tiny_bundle(tmp_path_factory.mktemp("binary"), images.BINARY)


@pytest.fixture(scope="session")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Effusion, Mass, Nodule."""
    return tiny_bundle(tmp_path_factory.mktemp("findings"))


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thorax.machine.free_cpus", lambda: 1)


class Site:
    """What the server at `address` does next: the `limit` of a request, in /metadata where it is `published`; `busy`
    responses of 429 first.
    """

    def __init__(self) -> None:
        self.address, self.limit, self.published, self.busy, self.sizes = "", 10**9, True, 0, []


@pytest.fixture
def site(findings: Path) -> Iterator[Site]:
    state, model = Site(), BundleClient(findings)

    def respond(method: str, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        if method == "GET":
            return (
                200 if state.published else 404,
                {},
                json.dumps({"limits": {"max_request_bytes": state.limit}}).encode(),
            )
        state.sizes.append(len(body))
        if state.busy:
            state.busy -= 1
            return 429, {"Retry-After": "7"}, b'{"error": "busy"}'
        if len(body) > state.limit:
            return 413, {}, b'{"error": "too large"}'
        options = urlsplit(path).query or headers.get("X-Amzn-SageMaker-Custom-Attributes", "")
        response = model.send(body, headers["Content-Type"], headers["Accept"], options)
        return response.status, {"Content-Type": "application/json"}, response.body

    with lambda_stand_ins.serving(respond) as address:
        state.address = address
        yield state


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for searches on this machine, whose jobs are made up; see local_search."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("thorax_launch.local.searches.Toolkit", FakeToolkit)
    monkeypatch.setattr(FakeToolkit, "log", good, raising=False)
    monkeypatch.setattr("thorax_launch.trials.Leaderboard.write_plot", lambda self, file: None)
    (tmp_path / "images").mkdir()
    (tmp_path / "own.yaml").write_text(RECIPE)
    return tmp_path
