"""A small attack on a real server: it goes on answering good clients rightly, in bounded memory, and never with 500."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import requests

import images
from hosting import server, tiny_bundle
from thorax.serving.classifier import Classifier

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.fixture
def attack(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(BENCH), *sys.path])
    import attack

    return attack


def test_good_clients_are_answered_rightly_under_attack(attack, tmp_path):
    bundle = tiny_bundle(tmp_path / "model")
    bodies = [images.data(images.grey(seed=k), kind) for k in range(4) for kind in ("PNG", "JPEG", "TIFF")]
    expected = Classifier.load(bundle, precision="float32").predict(bodies)  # bfloat16 differs by size of batch
    wrong: list[str] = []
    rounds: list[int] = []
    done = threading.Event()

    def good(number: int) -> None:
        """A client with an address of its own."""
        session = requests.Session()
        session.mount("http://", Bound(f"127.0.2.{number}"))
        while not done.is_set():
            for body, want in zip(bodies, expected, strict=True):
                found = session.post(f"{address}/invocations", body, headers={"Content-Type": ""}, timeout=60)
                if found.status_code != 200 or json.loads(found.content) != pytest.approx(want.tolist(), abs=3e-6):
                    wrong.append(f"{found.status_code} {found.text[:100]}")
            rounds.append(number)
            if session.get(f"{address}/ping", timeout=60).status_code != 200:
                wrong.append("/ping")

    with server(bundle, THORAX_TIMEOUT_S="20", THORAX_PRECISION="float32") as (address, process):
        hostile = attack.Attack(int(address.rpartition(":")[2]), bodies[1], share=0.002)
        threads = [threading.Thread(target=good, args=(k,)) for k in (1, 2)]
        for thread in threads:
            thread.start()
        asyncio.run(hostile.run(4.0))
        memory = psutil.Process(process.pid).memory_info().rss
        end = time.monotonic() + 60
        while len(set(rounds)) < 2 and time.monotonic() < end:
            time.sleep(0.05)
        done.set()
        for thread in threads:
            thread.join(120)
    assert wrong == []
    assert set(rounds) == {1, 2}
    assert memory < 1.5 * 2**30
    statuses = {status for _, status in hostile.answered}
    assert statuses <= {"-", "200", "400", "403", "404", "405", "408", "413", "415", "422", "429", "431", "503", "406"}
    assert "500" not in statuses and len(hostile.answered) > 10, hostile.summary()


class Bound(requests.adapters.HTTPAdapter):
    """Connections from an address of this machine."""

    def __init__(self, address: str) -> None:
        self.address = address
        super().__init__()

    def init_poolmanager(self, *args, **kwargs):
        super().init_poolmanager(*args, source_address=(self.address, 0), **kwargs)
