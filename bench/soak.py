"""Ten minutes of mixed load on our app: 95 % good requests, 5 % hostile ones. Ends with an error where a promise is
broken.

    python bench/soak.py [--bundle DIR] [--images DIR] [--minutes 10] [--clients 8] [--attack]

Promised: no 5xx, every good answer equal to the offline prediction, and memory that has stopped growing: in the last
tenth of the time it is at most 5 % above that of the second tenth.

With --attack: good clients alone and under attack (bench/attack.py), in turn. Promised: no 5xx but 503, every good
request answered 200 and rightly, throughput of the good at least half of what it is alone, its 99th percentile and that
of /ping under 1 s, and memory of the server and its children that does not grow from the first attack to the last.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from bench import prepare
from load import Asked, listening, run
from serving import bundle, ours, started
from siege import besieged


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="a folder of JPEGs for each of two classes (default: synthetic images)",
    )
    p.add_argument("--bundle", type=Path, metavar="DIR", help="default: ResNet-18 with random weights")
    p.add_argument("--minutes", type=float, default=10)
    p.add_argument("--clients", type=int, default=8)
    p.add_argument("--attack", action="store_true", help="good clients beside hostile ones")
    p.add_argument("--share", type=float, default=1.0, help="of the size of what attacks (default: 1)")
    a = p.parse_args()
    with TemporaryDirectory(prefix="soak-") as scratch:
        images = prepare(Path(scratch) / "images", a.images, 64, (224, 224))
        bodies = [file.read_bytes() for file in sorted(images.glob("*/*"))]
        model = a.bundle or bundle(Path(scratch) / "model", "resnet18", 224)
        if a.attack:
            besieged(model, bodies, a)
        else:
            soak(model, bodies, a.minutes, a.clients)


def soak(model: Path, bodies: list[bytes], minutes: float, clients: int) -> None:
    from thorax.serving.classifier import Classifier

    expected = Classifier.load(model).predict(bodies)
    random.seed(0)
    statuses: Counter[int] = Counter()
    memory: list[tuple[float, int]] = []
    wrong: list[str] = []
    hostile = bad_requests(bodies[0])
    with started(ours(model)) as (port, _):
        server = listening(port)
        began = time.monotonic()
        while (passed := time.monotonic() - began) < 60 * minutes:
            chosen = [-1 if random.random() < 0.05 else random.randrange(len(bodies)) for _ in range(200)]
            requests = [random.choice(hostile) if k < 0 else Asked.image(bodies[k]) for k in chosen]

            def told(n: int, status: int, body: bytes, chosen: list[int] = chosen) -> None:
                statuses[status] += 1
                k = chosen[n]
                good = (
                    status == 200 and abs(json.loads(body)[-expected.shape[1]] - expected[k, 0]) < 3e-6
                    if k >= 0
                    else 400 <= status < 500
                )
                if not good:
                    wrong.append(f"{'hostile' if k < 0 else f'image {k}'}: {status} {body[:80]!r}")

            run(port, requests, clients, told)
            memory.append((passed, psutil.Process(server).memory_info().rss))
    tenth = 6 * minutes
    early = [rss for at, rss in memory if tenth <= at < 2 * tenth] or [memory[0][1]]
    late = [rss for at, rss in memory if at >= 9 * tenth] or [memory[-1][1]]
    growth = max(late) / max(early) - 1
    print(
        f"{minutes:g} min, {clients} clients, {sum(statuses.values())} requests, by status"
        f" {dict(sorted(statuses.items()))}; memory {max(early) / 2**20:.0f} MiB early, {max(late) / 2**20:.0f} MiB"
        f" late ({growth:+.1%}); load {os.getloadavg()[0]:.1f}"
    )
    if wrong or growth > 0.05 or any(status >= 500 for status in statuses):
        sys.exit(f"error: {len(wrong)} wrong answers, e.g. {wrong[:3]}; memory {growth:+.1%}")


def bad_requests(image: bytes) -> list[Asked]:
    """Each is refused with 4xx."""
    return [
        Asked.image(image[:200]),
        Asked.image(b"\0" * 5000),
        Asked.image(b"hello", "text/plain"),
        Asked.image(image, accept="audio/mpeg"),
        Asked.image(b'{"image": "?"}', "application/json"),
        Asked.image(b"[" * 50_000, "application/json"),
        Asked.image(b'{"s3_uri": "http://x/y"}', "application/json"),
        Asked.image(
            b"\x93NUMPY\x01\x00\x46\x00{'descr': '|u1', 'fortran_order': False, 'shape': (999999, 999999), }\n",
            "application/x-npy",
        ),
        Asked.image(image, "multipart/form-data; boundary=x"),
        Asked.image(image, path="/invocations?explain=maybe"),
    ]


if __name__ == "__main__":
    main()
