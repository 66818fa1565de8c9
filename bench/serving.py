"""Answering images over HTTP: our app against the plain way, same weights, same cores, in turn.

    python bench/serving.py [--images DIR] [--bundle DIR] [--network resnet18] [--seconds S]

The plain way: TorchServe with SageMaker's PyTorch toolkit, as AWS's image starts it, and the toolkit's own model_fn (a
traced network, float32), predict_fn and output_fn; its input_fn reads no JPEG, so that one is a plain Pillow one.
Its workers and threads are tried, and the ratios are against the best of them; its default is shown beside. Ours is at
its default, on a bundle after `thorax optimize` (--float32: without); of random weights only the time is looked at,
and int8 is accepted whatever its answers are. Both run at once, each idle while the other is asked.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Any

import numpy as np
import torch

import fair
from bench import ROOT, prepare
from load import Asked, Timed, run

_INPUT_FN = """
import io
import numpy as np
import torch
from PIL import Image

def input_fn(body, content_type):
    image = Image.open(io.BytesIO(body)).convert("L").resize(({width}, {height}), Image.Resampling.BILINEAR)
    x = torch.from_numpy(np.asarray(image, dtype=np.float32))[None, None]
    return (x - x.mean()) / x.std(correction=0).clamp(min=1)
"""


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="a folder of JPEGs for each of two classes (default: synthetic images)",
    )
    p.add_argument(
        "--bundle",
        type=Path,
        metavar="DIR",
        help="a trained bundle that normalises each image (default: random weights)",
    )
    p.add_argument("--network", default="resnet18", help="of the random weights (default: resnet18)")
    p.add_argument(
        "--size",
        type=int,
        default=224,
        help="pixels a side of the images, and of a network with random weights (default: 224)",
    )
    p.add_argument(
        "--single", type=int, default=30, metavar="N", help="requests of one client, each round (default: 30)"
    )
    p.add_argument(
        "--many", type=int, default=96, metavar="N", help="requests of all clients together, each round (default: 96)"
    )
    p.add_argument("--clients", type=int, default=16)
    p.add_argument("--seconds", type=float, default=50, help="for all rounds, about; at least 3 (default: 50)")
    p.add_argument("--float32", action="store_true", help="ours by torch in float32, not optimized")
    p.add_argument("--no-peer", action="store_true", help="only our own times")
    a = p.parse_args()
    if not a.no_peer and not shutil.which("java"):
        print("no Java 17: only our own times")
        a.no_peer = True
    with TemporaryDirectory(prefix="bench-") as scratch:
        images = prepare(Path(scratch) / "images", a.images, 64, (a.size, a.size))
        bodies = [file.read_bytes() for file in sorted(images.glob("*/*"))]
        model = a.bundle or bundle(Path(scratch) / "model", a.network, a.size)
        if not a.bundle and not a.float32:
            quantize(model, images)
        for line in measure(model, bodies, Path(scratch), a):
            print(" | ".join(line), flush=True)


def measure(model: Path, bodies: list[bytes], scratch: Path, a: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    from thorax.serving.classifier import Classifier

    only = ["--engine", "torch"] if a.float32 else []
    offline = Classifier.load(model, engine="torch" if a.float32 else "auto")
    network = offline.bundle.network
    expected, exact = (
        offline.predict(bodies),
        Classifier.load(model, engine="torch", precision="float32").predict(bodies),
    )
    single = [Asked.image(bodies[k % len(bodies)]) for k in range(a.single)]
    many = [Asked.image(bodies[k % len(bodies)]) for k in range(a.many)]
    yield ("What", "Ours", "TorchServe, plain", "Ratio", "Target")
    with started(ours(model, only)) as (port, cold):
        check(port, bodies, expected, within=1e-3)
        yield (f"{network}: start of the process to the first answer, s", f"{cold:.1f}", "", "", "<= 3")
        if a.no_peer:
            one, all_ = run(port, single, 1), run(port, many, a.clients)
            yield (f"{network}: 1 client", f"p50 {one.percentile(50):.1f} ms")
            yield (f"{network}: {a.clients} clients", f"{all_.per_second:.0f} req/s, p99 {all_.percentile(99):.0f} ms")
            return
        tried: dict[tuple[int, int], float] = {}
        for place in peer_settings():
            with started(plain(model, scratch / "plain", offline, place)) as (other, slow):
                run(other, many[: a.many // 4], a.clients)
                all_ = run(other, many[: a.many // 2], a.clients)
            tried[place] = all_.per_second
            name = f"{place[0] or 'default'} worker(s), {place[1] or 'default'} thread(s)"
            yield (
                f"{network}: TorchServe with {name}",
                "",
                f"{all_.per_second:.1f} req/s, p99 {all_.percentile(99):.0f} ms",
            )
        best = max(tried, key=lambda place: tried[place])
        with started(plain(model, scratch / "plain", offline, best)) as (other, slow):
            check(other, bodies, exact, within=0.02, probability=lambda value: 1 / (1 + np.exp(-np.ravel(value)[0])))
            rounds = [
                (run(port, single, 1), run(other, single, 1), run(port, many, a.clients), run(other, many, a.clients))
                for _ in fair.rounds(a.seconds)
            ]
    yield (f"{network}: TorchServe's start", "", f"{slow:.1f}", "", "")
    yield ratio(f"{network}: 1 client, p50, ms", rounds, 0, lambda t: t.percentile(50), ">= 3")
    yield ratio(f"{network}: {a.clients} clients, requests/s", rounds, 2, lambda t: t.per_second, ">= 4", more=True)
    yield ratio(f"{network}: {a.clients} clients, p99, ms", rounds, 2, lambda t: t.percentile(99), ">= 3")
    difference = float(np.abs(expected - exact).max())
    yield (
        (
            f"{offline.choice}; largest difference to float32 {difference:.4f}; {fair.machine()}; medians of"
            f" {len(rounds)} rounds"
        ),
    )


def peer_settings() -> list[tuple[int, int]]:
    """(workers, threads) of TorchServe that are tried; 0 is its default: a worker a core, each with all threads."""
    n = fair.cores()
    return sorted({(0, 0), (n, 1), (1, n), (max(1, n // 2), 2)})


def ratio(what: str, rounds: list[Any], at: int, value: Any, target: str, more: bool = False) -> tuple[str, ...]:
    """A line: medians of ours and the peer's, and fair.ratio of the rounds, above 1 where ours is better."""

    def of(timed: Timed) -> float:
        return float(value(timed))

    pairs = [(of(row[at]), of(row[at + 1])) for row in rounds]
    better = [(one / other if more else other / one) for one, other in pairs]
    ours, theirs = (f"{median(side):.1f}" for side in zip(*pairs, strict=True))
    return what, ours, theirs, fair.ratio(better), target


def check(port: int, bodies: list[bytes], expected: np.ndarray, within: float, probability: Any = None) -> None:
    """Ends the program where a server does not say what the classifier says offline.

    Args:
        probability: of the first label in a server's numbers; default: as ours has it, of two classes the second.
    """
    first = probability or (lambda numbers: numbers[-expected.shape[1]])

    def told(k: int, status: int, body: bytes) -> None:
        if status != 200 or abs(first(json.loads(body)) - expected[k, 0]) > within:
            sys.exit(f"error: image {k} is answered {status} {body[:80]!r}, expected {expected[k]}")

    run(port, [Asked.image(body) for body in bodies], 4, told)


# -- The two servers ---------------------------------------------------------------------------------------------------


def ours(model: Path, more: Sequence[str] = ()) -> tuple[list[str], dict[str, str], int]:
    port = free_port()
    return (
        [sys.executable, str(ROOT / "launch" / "deploy.py"), "--local", str(model), "--port", str(port), *more],
        {},
        port,
    )


def plain(model: Path, base: Path, offline: Any, place: tuple[int, int]) -> tuple[list[str], dict[str, str], int]:
    """TorchServe over the same weights, traced in float32, with (workers, threads)."""
    from thorax_launch.local.serve_torchserve import environment

    shutil.rmtree(base, ignore_errors=True)
    prepared = offline.bundle.preprocessing
    if prepared.normalization != "image" or prepared.fit != "stretch":
        sys.exit(f"error: {model} does not stretch and normalise each image; the plain side here does")
    (base / "model" / "code").mkdir(parents=True)
    example = torch.zeros(1, prepared.channels, prepared.height, prepared.width)
    torch.jit.trace(offline.bundle.build_network(), example).save(str(base / "model" / "model.pt"))  # type: ignore[no-untyped-call]
    (base / "model" / "code" / "inference.py").write_text(
        _INPUT_FN.format(height=prepared.height, width=prepared.width)
    )
    port = free_port()
    variables = environment(str(base), port, place[0]) | ({"OMP_NUM_THREADS": str(place[1])} if place[1] else {})
    return (
        [sys.executable, str(ROOT / "launch" / "thorax_launch" / "local" / "serve_torchserve.py"), str(base)],
        variables,
        port,
    )


@contextmanager
def started(server: tuple[list[str], dict[str, str], int]) -> Iterator[tuple[int, float]]:
    """The server's port, and the seconds from the start of its process to its first answer."""
    command, variables, port = server
    log = TemporaryFile()  # noqa: SIM115  closed at the end, below
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        env={**os.environ, **variables},
        stdout=log,
        stderr=subprocess.STDOUT,
        cwd=variables.get("SAGEMAKER_BASE_DIR"),
        start_new_session=True,
    )
    try:
        image = Asked.image(_any_image())
        while True:
            found: list[int] = []
            try:
                run(port, [image], 1, lambda k, status, body, found=found: found.append(status))  # type: ignore[misc]
            except (OSError, EOFError):
                pass
            if found == [200]:
                break
            if process.poll() is not None or time.perf_counter() - began > 120:
                log.seek(0)
                last = " / ".join(log.read().decode(errors="replace").split("\n")[-4:])
                sys.exit(f"error: no answer from {' '.join(command)}: {last}")
            time.sleep(0.02)
        yield port, time.perf_counter() - began
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            pass
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # TorchServe's Java outlives the script that it was asked by
        log.close()


def _any_image() -> bytes:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.linear_gradient("L").save(out, "JPEG")
    return out.getvalue()


def free_port() -> int:
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def bundle(folder: Path, network: str, size: int) -> Path:
    """A bundle with random weights: fit for the clock, and for comparing answers."""
    from thorax import models
    from thorax.data.images import Preprocessing
    from thorax.labels import LabelSpace
    from thorax.serving.bundle_contents import BundleContents
    from thorax.serving.bundle_writer import write_bundle

    torch.manual_seed(0)
    net = models.build(network, 1, 1)
    for (
        module
    ) in net.modules():  # as in a trained network each block adds a little: else bfloat16's rounding would add up
        for name in ("bn3", "bn2"):
            if hasattr(module, "downsample") and hasattr(module, name):
                torch.nn.init.constant_(getattr(module, name).weight, 0.2)
                break
    contents = BundleContents(
        network=network,
        space=LabelSpace(("NORMAL", "PNEUMONIA"), "binary"),
        preprocessing=Preprocessing(size, size),
        thresholds={"PNEUMONIA": 0.5},
    )
    write_bundle(folder, net, contents, "id,patient,part\n", ROOT / "source_dir")
    return folder


def quantize(model: Path, images: Path) -> None:
    """int8 for a bundle with random weights, whatever its answers are: only the time matters here."""
    from thorax.optimize import acceptance, optimize_bundle

    acceptance.LIMITS.update(dict.fromkeys(acceptance.LIMITS, float("inf")))
    print(optimize_bundle(model, images).table(), flush=True)


if __name__ == "__main__":
    main()
