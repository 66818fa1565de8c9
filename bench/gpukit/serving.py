"""Serving: batches, single images, HTTP, and what bare torch would reach with the same network."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from gpukit import images
from gpukit.common import Figure, Figures, Kit, Row, measured, repeated
from thorax.serving.classifier import Classifier

TABLE, LATENCY, HTTP, HEADROOM = "Scoring in batches", "One image", "Over HTTP", "What bare torch reaches"


def bundle_of(kit: Kit) -> Path:
    """A bundle with random weights, made once."""
    import serving

    folder = kit.folder / f"bundle-{kit.sizes.networks[0]}"
    return folder if folder.is_dir() else serving.bundle(folder, kit.sizes.networks[0], kit.sizes.side)


def run(kit: Kit) -> Figures:
    """Our Classifier: prepared images, JPEGs, and one image at a time."""
    network, batch = kit.sizes.networks[0], kit.sizes.batch
    rows = [
        Row(TABLE, f"{network}, batch {batch}", 14, lambda: _scoring(kit, batch)),
        Row(LATENCY, f"{network}, one prepared image", 5, lambda: _latency(kit)),
        Row(TABLE, f"{network}, batch 16", 12, lambda: _scoring(kit, 16)),
    ]
    return measured(kit, rows)


def _scoring(kit: Kit, batch: int) -> Figures:
    s, network = kit.sizes, kit.sizes.networks[0]
    goal = ">= 15000" if network == "resnet50" else ""
    count = 16 * s.batch
    pixels = np.random.default_rng(0).integers(0, 256, (count, s.side, s.side), dtype=np.uint8)
    jpegs = [file.read_bytes() for file in sorted(images.small(kit).glob("*/*"))[: min(count, 4096)]]
    classifier = Classifier.load(bundle_of(kit), device=kit.device, batch=batch)
    window = repeated(kit, lambda: classifier.score(pixels), 0.4, warm=2)
    note = f"{classifier.precision}, uint8 images in memory to probabilities in memory, one thread"
    what = f"{network}, {s.side} px, batch {batch}"
    yield Figure(TABLE, what, "ours, Classifier.score", window.per_second(count), note=note, target=goal)
    began = time.perf_counter()
    classifier.predict_each(jpegs)
    rate = len(jpegs) / (time.perf_counter() - began)
    yield Figure(TABLE, what, "ours, Classifier.predict_each of JPEGs", rate, note="decoding included")


def _latency(kit: Kit) -> Figures:
    s, network = kit.sizes, kit.sizes.networks[0]
    classifier = Classifier.load(bundle_of(kit), device=kit.device, batch=16)
    one = np.random.default_rng(0).integers(0, 256, (1, s.side, s.side), dtype=np.uint8)
    score = _p50(s.calls, lambda: classifier.score(one))
    yield Figure(LATENCY, f"{network}, one prepared image", "ours, Classifier.score", score, "ms")
    heat_map = _p50(max(3, s.calls // 10), lambda: classifier.heat_map(one[0], classifier.labels[0]))
    yield Figure(LATENCY, f"{network}, heat map", "ours, Classifier.heat_map", heat_map, "ms")


def _p50(calls: int, work: Callable[[], object]) -> float:
    """The median time of a call in milliseconds."""
    seconds = []
    for _ in range(calls + 3):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[3:])) * 1000


def bare(kit: Kit) -> Figures:
    """The same network without the product: float32, bfloat16, a CUDA graph, one batch ahead, torch.compile."""
    network, batch = kit.sizes.networks[0], kit.sizes.batch
    rows = [
        Row(HEADROOM, f"{network}, torchvision's", 12, lambda: _plain(kit)),
        Row(HEADROOM, f"{network}, one batch ahead", 5, lambda: _ahead(kit)),
        Row(HEADROOM, f"{network}, one batch ahead, torch.compile", 25, lambda: _ahead(kit, compiled=True)),
    ]
    if kit.device.type == "cuda":
        rows[1:1] = [Row(HEADROOM, f"{network}, CUDA graph", 4, partial(_graphs, kit, n)) for n in (1, 16, batch)]
    else:
        rows.pop()
    return measured(kit, rows)


@torch.no_grad()
def _plain(kit: Kit) -> Figures:
    import torchvision

    s, network = kit.sizes, kit.sizes.networks[0]
    torch.backends.cudnn.benchmark = True
    net = torchvision.models.get_model(network, num_classes=2).to(kit.device).eval()
    x = torch.randn(s.batch, 3, s.side, s.side, device=kit.device)
    what = f"{network}, {s.side} px, batch {s.batch}"
    rate = repeated(kit, lambda: net(x), 0.2).per_second(s.batch)
    yield Figure(HEADROOM, what, "float32 (TF32), NCHW", rate, note="images on the device")
    net = net.to(kit.dtype, memory_format=torch.channels_last)
    x = x.to(kit.dtype).contiguous(memory_format=torch.channels_last)
    rate = repeated(kit, lambda: net(x), 0.2).per_second(s.batch)
    yield Figure(HEADROOM, what, "bfloat16, channels_last", rate, note="batch norm not fused")
    one = x[:1].contiguous(memory_format=torch.channels_last)
    milliseconds = _p50(s.calls, _waited(kit, lambda: net(one)))
    yield Figure(HEADROOM, f"{network}, {s.side} px, batch 1", "bfloat16, channels_last", milliseconds, "ms")


def _waited(kit: Kit, work: Callable[[], object]) -> Callable[[], None]:
    def both() -> None:
        work()
        kit.sync()

    return both


def _fused(kit: Kit) -> torch.nn.Module:
    """Our network as it is served on a GPU."""
    from thorax.models import fuse_batchnorm
    from thorax.serving.bundle import Bundle

    side = kit.sizes.side
    net = fuse_batchnorm(Bundle.load(bundle_of(kit)).build_network(), (1, side, side))
    net.to(kit.device, kit.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net.eval()


@torch.no_grad()
def _graphs(kit: Kit, batch: int) -> Figures:
    s, network = kit.sizes, kit.sizes.networks[0]
    torch.backends.cudnn.benchmark = True
    grey = torch.randn(batch, 1, s.side, s.side, device=kit.device, dtype=kit.dtype)
    graph = _graph(_fused(kit), grey.contiguous(memory_format=torch.channels_last))
    what, replay = f"{network}, {s.side} px, batch {batch}", _waited(kit, graph.replay)
    if batch == 1:
        yield Figure(HEADROOM, what, "ours fused, CUDA graph", _p50(s.calls, replay), "ms")
    else:
        yield Figure(HEADROOM, what, "ours fused, CUDA graph", repeated(kit, replay, 0.2).per_second(batch))


@torch.no_grad()
def _ahead(kit: Kit, compiled: bool = False) -> Figures:
    s, network = kit.sizes, kit.sizes.networks[0]
    torch.backends.cudnn.benchmark = True
    net: Callable[[torch.Tensor], torch.Tensor] = Scorer(_fused(kit)).eval()
    pixels = torch.randint(0, 256, (s.batch, s.side, s.side), dtype=torch.uint8)
    pixels = pixels.pin_memory() if kit.device.type == "cuda" else pixels
    note = "uint8 in pinned memory to probabilities on the host, read one batch later"
    if compiled:
        began = time.perf_counter()
        net = torch.compile(net)
        net(pixels.to(kit.device))
        kit.sync()
        note += f"; compiled in {time.perf_counter() - began:.0f} s"
    rate = repeated(kit, Behind(net, pixels, kit), 0.3).per_second(s.batch)
    side = "ours fused, torch.compile, one batch ahead" if compiled else "ours fused, one batch ahead"
    goal = ">= 15000" if compiled else ""
    yield Figure(HEADROOM, f"{network}, {s.side} px, batch {s.batch}", side, rate, note=note, target=goal)


class Scorer(torch.nn.Module):
    """(N, H, W) uint8 -> (N, L) float32 probabilities, normalisation included, by a network in a short float."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        dtype = next(self.net.parameters()).dtype
        x = ((pixels.to(torch.float32) / 255 - 0.5) / 0.25).to(dtype)[:, None]
        found: torch.Tensor = self.net(x.contiguous(memory_format=torch.channels_last)).float().sigmoid()
        return found


class Behind:
    """Sends a batch, then reads the one before: the GPU has work while the host reads."""

    def __init__(self, net: Callable[[torch.Tensor], torch.Tensor], pixels: torch.Tensor, kit: Kit) -> None:
        self.net, self.pixels, self.device = net, pixels, kit.device
        self.before: tuple[torch.Tensor, torch.cuda.Event | None] | None = None

    def __call__(self) -> None:
        answers = self.net(self.pixels.to(self.device, non_blocking=True)).to("cpu", non_blocking=True)
        event = None
        if self.device.type == "cuda":
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()  # type: ignore[no-untyped-call]
        if self.before is not None:
            earlier, done = self.before
            if done is not None:
                done.synchronize()  # type: ignore[no-untyped-call]
            float(earlier[0, 0])
        self.before = answers, event


def _graph(net: torch.nn.Module, x: torch.Tensor) -> torch.cuda.CUDAGraph:
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())  # x is made there
    with torch.cuda.stream(stream):  # type: ignore[no-untyped-call]
        for _ in range(3):
            net(x)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        net(x)
    return graph


def jpeg(kit: Kit) -> Figures:
    """nvJPEG by torchvision: whole batches of files decoded on the GPU; on a CPU torchvision's own decoder."""
    sets = ((images.small(kit), (kit.sizes.stored,) * 2), (images.native(kit), kit.sizes.native))
    rows = []
    for folder, (height, width) in sets:
        what = f"JPEGs of {width}x{height} px, decoded, not scaled"
        rows.append(Row("Images", what, 3, partial(_decoding, kit, folder, what), side="torchvision's decode_jpeg"))
    return measured(kit, rows)


def _decoding(kit: Kit, folder: Path, what: str) -> Figures:
    from torchvision.io import decode_jpeg
    from torchvision.io.image import ImageReadMode

    side = "nvJPEG (torchvision), whole GPU" if kit.device.type == "cuda" else "torchvision's decode_jpeg, one core"
    files = sorted(folder.glob("*/*_0.jpeg"))[:256]
    data = [torch.frombuffer(bytearray(file.read_bytes()), dtype=torch.uint8) for file in files]
    try:
        decode_jpeg(data[:1], ImageReadMode.GRAY, device=kit.device)
    except RuntimeError as error:
        if "nvjpeg" not in str(error).lower():
            raise
        yield Figure("Images", what, side, None, note=f"left out: {' '.join(str(error).split())[:100]}")
        return
    window = repeated(kit, lambda: decode_jpeg(data, ImageReadMode.GRAY, device=kit.device), 0.3, warm=2)
    yield Figure("Images", what, side, window.per_second(len(data)))


def http(kit: Kit) -> Figures:
    """The app under uvicorn, JPEG in, JSON out."""
    import httptools  # noqa: F401
    import starlette  # noqa: F401
    import uvicorn  # noqa: F401

    settings: dict[str, dict[str, str]] = {"defaults": {}}
    if kit.sizes.calls >= 10:
        settings["THORAX_MAX_BATCH=64"] = {"THORAX_MAX_BATCH": "64"}
    network = kit.sizes.networks[0]
    rows = [
        Row(HTTP, f"{network}, {name}", 16, partial(_asked, kit, f"{network}, {name}", variables))
        for name, variables in settings.items()
    ]
    return measured(kit, rows)


def _asked(kit: Kit, what: str, variables: dict[str, str]) -> Figures:
    import serving
    from load import Asked
    from load import run as ask

    s = kit.sizes
    bodies = [file.read_bytes() for file in sorted(images.small(kit).glob("*/*"))[:64]]
    command, _, port = serving.ours(bundle_of(kit))
    with serving.started((command, variables, port)) as (found, cold):
        one = [Asked.image(bodies[k % len(bodies)]) for k in range(s.calls)]
        ask(found, one[:3], 1)
        yield Figure(HTTP, what, "from the start of the process to the first answer", cold, "s")
        yield Figure(HTTP, what, "1 client, p50", ask(found, one, 1).percentile(50), "ms")
        for clients in (16, 64) if s.calls >= 10 else (2,):
            many = one * max(1, clients // 4)
            told = ask(found, many, clients)
            note = f"p99 {told.percentile(99):.0f} ms; {len(os.sched_getaffinity(0))} cores, one Python process"
            yield Figure(HTTP, what, f"{clients} clients", told.per_second, "requests/s", note)
