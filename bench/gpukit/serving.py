"""Serving: batches, single images, HTTP, and what bare torch would reach with the same network."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from gpukit import images
from gpukit.common import Figure, Figures, Kit, free, repeated
from thorax.serving.classifier import Classifier

TABLE, LATENCY, HTTP, HEADROOM = "Scoring in batches", "One image", "Over HTTP", "What bare torch reaches"


def bundle_of(kit: Kit) -> Path:
    """A bundle with random weights, made once."""
    import serving

    folder = kit.folder / f"bundle-{kit.sizes.networks[0]}"
    return folder if folder.is_dir() else serving.bundle(folder, kit.sizes.networks[0], kit.sizes.side)


def run(kit: Kit) -> Figures:
    """Our Classifier: prepared images, JPEGs, and one image at a time."""
    s, bundle, network = kit.sizes, bundle_of(kit), kit.sizes.networks[0]
    goal = ">= 15000" if network == "resnet50" else ""
    count = 16 * s.batch
    pixels = np.random.default_rng(0).integers(0, 256, (count, s.side, s.side), dtype=np.uint8)
    jpegs = [file.read_bytes() for file in sorted(images.small(kit).glob("*/*"))[: min(count, 4096)]]
    for batch in sorted({16, s.batch}):
        classifier = Classifier.load(bundle, device=kit.device, batch=batch)
        window = repeated(kit, lambda c=classifier: c.score(pixels), 0.4)  # type: ignore[misc]
        note = f"{classifier.precision}, uint8 images in memory to probabilities in memory, one thread"
        what = f"{network}, {s.side} px, batch {batch}"
        yield Figure(TABLE, what, "ours, Classifier.score", window.per_second(count), note=note, target=goal)
        began = time.perf_counter()
        classifier.predict_each(jpegs)
        rate = len(jpegs) / (time.perf_counter() - began)
        yield Figure(TABLE, what, "ours, Classifier.predict_each of JPEGs", rate, note="decoding included")
        if batch == 16:
            yield Figure(
                LATENCY,
                f"{network}, one prepared image",
                "ours, Classifier.score",
                _p50(s.calls, lambda c=classifier: c.score(pixels[:1])),  # type: ignore[misc]
                "ms",
            )
            yield Figure(
                LATENCY,
                f"{network}, heat map",
                "ours, Classifier.heat_map",
                _p50(max(3, s.calls // 10), lambda c=classifier: c.heat_map(pixels[0], c.labels[0])),  # type: ignore[misc]
                "ms",
            )
        del classifier
        free()


def _p50(calls: int, work: Callable[[], object]) -> float:
    """The median time of a call in milliseconds."""
    seconds = []
    for _ in range(calls + 3):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return float(np.median(seconds[3:])) * 1000


@torch.inference_mode()
def bare(kit: Kit) -> Figures:
    """The same network without the product: float32, bfloat16, a CUDA graph, torch.compile."""
    import torchvision

    s, network = kit.sizes, kit.sizes.networks[0]
    torch.backends.cudnn.benchmark = True
    net = torchvision.models.get_model(network, num_classes=2).to(kit.device).eval()
    x = torch.randn(s.batch, 3, s.side, s.side, device=kit.device)
    what = f"{network}, {s.side} px, batch {s.batch}"
    rate = repeated(kit, lambda: net(x), 0.2).per_second(s.batch)
    yield Figure(HEADROOM, what, "float32 (TF32), NCHW", rate, note="images on the device")
    net = net.to(kit.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = x.to(kit.dtype).contiguous(memory_format=torch.channels_last)
    rate = repeated(kit, lambda: net(x), 0.2).per_second(s.batch)
    yield Figure(HEADROOM, what, "bfloat16, channels_last", rate, note="batch norm not fused")
    one = x[:1].contiguous(memory_format=torch.channels_last)
    what_one = f"{network}, {s.side} px, batch 1"

    def waited(work: Callable[[], object]) -> Callable[[], object]:
        def both() -> None:
            work()
            kit.sync()

        return both

    yield Figure(HEADROOM, what_one, "bfloat16, channels_last", _p50(s.calls, waited(lambda: net(one))), "ms")
    if kit.device.type != "cuda":
        return
    from thorax.models import fuse_batchnorm
    from thorax.serving.bundle import Bundle

    fused = fuse_batchnorm(Bundle.load(bundle_of(kit)).build_network(), (1, s.side, s.side))
    fused = fused.to(kit.device, kit.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for batch in (1, 16, s.batch):
        grey = x[:batch, :1].contiguous(memory_format=torch.channels_last)
        graph = _graph(fused, grey)
        where = f"{network}, {s.side} px, batch {batch}"
        if batch == 1:
            yield Figure(HEADROOM, where, "ours fused, CUDA graph", _p50(s.calls, waited(graph.replay)), "ms")
        else:
            rate = repeated(kit, waited(graph.replay), 0.2).per_second(batch)
            yield Figure(HEADROOM, where, "ours fused, CUDA graph", rate)
        del graph
    free()
    net = Scorer(fused).eval()
    pixels = torch.randint(0, 256, (s.batch, s.side, s.side), dtype=torch.uint8).pin_memory()
    note = "uint8 in pinned memory to probabilities on the host, read one batch later"
    rate = repeated(kit, Behind(net, pixels, kit.device), 0.3).per_second(s.batch)
    yield Figure(HEADROOM, what, "ours fused, one batch ahead", rate, note=note)
    began = time.perf_counter()
    quick = torch.compile(net)
    quick(pixels.to(kit.device))
    kit.sync()
    note += f"; compiled in {time.perf_counter() - began:.0f} s"
    rate = repeated(kit, Behind(quick, pixels, kit.device), 0.3).per_second(s.batch)
    yield Figure(HEADROOM, what, "ours fused, torch.compile, one batch ahead", rate, note=note, target=">= 15000")


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

    def __init__(self, net: Callable[[torch.Tensor], torch.Tensor], pixels: torch.Tensor, device: torch.device) -> None:
        self.net, self.pixels, self.device = net, pixels, device
        self.before: tuple[torch.Tensor, torch.cuda.Event] | None = None

    def __call__(self) -> None:
        answers = self.net(self.pixels.to(self.device, non_blocking=True)).to("cpu", non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()  # type: ignore[no-untyped-call]
        if self.before is not None:
            self.before[1].synchronize()  # type: ignore[no-untyped-call]
        self.before = answers, event


def _graph(net: torch.nn.Module, x: torch.Tensor) -> torch.cuda.CUDAGraph:
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(stream):  # type: ignore[no-untyped-call]
        for _ in range(3):
            net(x)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        net(x)
    return graph


def jpeg(kit: Kit) -> Figures:
    """nvJPEG by torchvision: whole batches of files decoded on the GPU."""
    from torchvision.io import decode_jpeg
    from torchvision.io.image import ImageReadMode

    if kit.device.type != "cuda":
        yield Figure("Images", "JPEGs on the GPU", "nvJPEG", None, note="needs a GPU")
        return
    for folder, (height, width) in (
        (images.small(kit), (kit.sizes.stored,) * 2),
        (images.native(kit), kit.sizes.native),
    ):
        files = sorted(folder.glob("*/*_0.jpeg"))[:256]
        data = [torch.frombuffer(bytearray(file.read_bytes()), dtype=torch.uint8) for file in files]
        window = repeated(kit, lambda d=data: decode_jpeg(d, ImageReadMode.GRAY, device=kit.device), 0.3)  # type: ignore[misc]
        what = f"JPEGs of {width}x{height} px, decoded, not scaled"
        yield Figure("Images", what, "nvJPEG (torchvision), whole GPU", window.per_second(len(data)))


def http(kit: Kit) -> Figures:
    """The app under uvicorn, JPEG in, JSON out."""
    import httptools  # noqa: F401
    import starlette  # noqa: F401
    import uvicorn  # noqa: F401

    import serving
    from load import Asked
    from load import run as ask

    s, bundle = kit.sizes, bundle_of(kit)
    bodies = [file.read_bytes() for file in sorted(images.small(kit).glob("*/*"))[:64]]
    settings: dict[str, dict[str, str]] = {"defaults": {}}
    if s.calls >= 10:
        settings["THORAX_MAX_BATCH=64"] = {"THORAX_MAX_BATCH": "64"}
    for name, variables in settings.items():
        command, _, port = serving.ours(bundle)
        with serving.started((command, variables, port)) as (found, cold):
            what = f"{s.networks[0]}, {name}"
            one = [Asked.image(bodies[k % len(bodies)]) for k in range(s.calls)]
            ask(found, one[:3], 1)
            yield Figure(HTTP, what, "from the start of the process to the first answer", cold, "s")
            yield Figure(HTTP, what, "1 client, p50", ask(found, one, 1).percentile(50), "ms")
            for clients in (16, 64) if s.calls >= 10 else (2,):
                many = one * max(1, clients // 4)
                told = ask(found, many, clients)
                note = f"p99 {told.percentile(99):.0f} ms; {len(os.sched_getaffinity(0))} cores, one Python process"
                yield Figure(HTTP, what, f"{clients} clients", told.per_second, "requests/s", note)
