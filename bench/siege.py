"""Good clients of a server alone and beside hostile ones, in turn: what is promised of them (see soak.py)."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import median

import numpy as np
import psutil

import fair
from load import Asked, Timed, listening, run
from serving import ours, started

ATTACK = Path(__file__).with_name("attack.py")
#: Seconds of a round alone and under attack, and between them until what has begun has ended.
ALONE, UNDER, PAUSE = 20.0, 60.0, 5.0


@dataclass
class Watch:
    """What is seen of a server beside the good clients: memory of it and of its children, and /ping."""

    port: int
    memory: list[int] = field(default_factory=list)
    children: list[int] = field(default_factory=list)
    pings: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        server = psutil.Process(listening(self.port))
        while not self.done.wait(0.2):
            self.memory.append(server.memory_info().rss)
            self.children.append(sum(_memory(child) for child in server.children(recursive=True)))
            began = time.perf_counter()
            try:
                asked = HTTPConnection("127.0.0.1", self.port, timeout=30, source_address=("127.0.3.1", 0))
                asked.request("GET", "/ping")
                if (status := asked.getresponse().status) != 200:
                    self.failures[str(status)] += 1
                asked.close()
            except (OSError, HTTPException) as error:
                self.failures[type(error).__name__] += 1
            self.pings.append(time.perf_counter() - began)

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self.run)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.done.set()
        self._thread.join()


def _memory(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def besieged(model: Path, bodies: list[bytes], a: argparse.Namespace) -> None:
    """Measures, prints, and ends the program where a promise is broken."""
    from thorax.serving.classifier import Classifier

    expected = Classifier.load(model).predict(bodies)
    statuses: Counter[int] = Counter()
    hostile: Counter[str] = Counter()
    wrong: list[str] = []
    requests = [Asked.image(body) for body in bodies] * (1_000_000 // len(bodies))

    def told(n: int, status: int, body: bytes) -> None:
        statuses[status] += 1
        k = n % len(bodies)
        if status != 200 or abs(json.loads(body)[-expected.shape[1]] - expected[k, 0]) > 3e-6:
            wrong.append(f"image {k}: {status} {body[:80]!r}")

    def good(port: int, seconds: float) -> Timed:
        return run(port, requests, a.clients, told, "127.0.2.{}", time.perf_counter() + seconds)

    alone: list[Timed] = []
    under: list[Timed] = []
    watches: list[Watch] = []
    with started(ours(model)) as (port, _):
        good(port, 2)
        end = time.monotonic() + 60 * a.minutes
        while not under or time.monotonic() < end:
            alone.append(good(port, min(ALONE, 60 * a.minutes)))
            seconds = min(UNDER, 60 * a.minutes)
            with attacking(port, seconds + 4, a.share) as attacker, Watch(port) as watch:
                time.sleep(2)
                under.append(good(port, seconds))
                answered = json.loads(attacker.communicate()[0].splitlines()[-1])["answered"]
            watches.append(watch)
            for name, found in answered.items():
                for status, count in found.items():
                    hostile[f"{name}: {status}"] += count
            time.sleep(PAUSE)
    report(alone, under, watches, hostile, statuses, wrong)


class attacking:  # noqa: N801  a context manager
    """The attack as a process, from when it has made its files."""

    def __init__(self, port: int, seconds: float, share: float) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(ATTACK), str(port), str(seconds), str(share)], stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> subprocess.Popen[str]:
        assert self.process.stdout is not None
        self.process.stdout.readline()
        return self.process

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()


def report(
    alone: list[Timed],
    under: list[Timed],
    watches: list[Watch],
    hostile: Counter[str],
    statuses: Counter[int],
    wrong: list[str],
) -> None:
    """Prints what was seen, and ends the program where a promise is broken."""
    kept = [two.per_second / one.per_second for one, two in zip(alone, under, strict=True)]
    late = max(timed.percentile(99) for timed in under)
    pings = np.array([ping for watch in watches for ping in watch.pings])
    ping = float(np.percentile(pings, 99))
    first, last = max(watches[0].memory), max(watches[-1].memory)
    failures = sum((watch.failures for watch in watches), Counter())
    broken = [name for name in hostile if name.rpartition(": ")[2].startswith("5") and not name.endswith(": 503")]
    print(f"good, alone: {median(t.per_second for t in alone):.0f} requests/s, p99"
          f" {median(t.percentile(99) for t in alone):.0f} ms")  # fmt: skip
    print(f"good, under attack: {median(t.per_second for t in under):.0f} requests/s, p99"
          f" {median(t.percentile(99) for t in under):.0f} ms; share kept {fair.ratio(kept)}")  # fmt: skip
    print(f"good answers by status: {dict(statuses)}; wrong: {len(wrong)}")
    print(f"/ping under attack: p50 {float(np.median(pings)) * 1000:.0f} ms, p99 {ping * 1000:.0f} ms, worst"
          f" {pings.max() * 1000:.0f} ms; failed: {dict(failures)}")  # fmt: skip
    print(f"memory: {first / 2**20:.0f} MiB in the first attack, {last / 2**20:.0f} MiB in the last; children at most"
          f" {max(max(watch.children) for watch in watches) / 2**20:.0f} MiB")  # fmt: skip
    for name, count in sorted(hostile.items()):
        print(f"  {name}: {count}")
    print(f"{fair.machine()}; {len(under)} rounds")
    promises = {
        f"{len(wrong)} wrong answers, e.g. {wrong[:3]}": not wrong,
        f"5xx other than 503: {broken}": not broken,
        f"good clients kept {median(kept):.0%} of their throughput": median(kept) >= 0.5,
        f"p99 of good clients {late:.0f} ms": late < 1000,
        f"p99 of /ping {ping * 1000:.0f} ms, {dict(failures)} failed": ping < 1 and not failures,
        f"memory grew by {last / first - 1:.0%}": last < 1.1 * first,
    }
    if failed := [promise for promise, is_kept in promises.items() if not is_kept]:
        sys.exit(f"error: {'; '.join(failed)}")
