"""The peers, written here from what their documents say: torchvision's reference recipe, and a loop of timm's parts."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.amp.grad_scaler import GradScaler

from gpukit.common import Kit


def steps(kit: Kit, network: str) -> Iterator[tuple[str, Callable[[], object]]]:
    """Plain steps on a batch that lies on the device: as a tutorial has them, and as fast as plain code gets."""
    s = kit.sizes
    x = torch.randn(s.batch, 3, s.side, s.side, device=kit.device)
    y = torch.randint(0, 2, (s.batch,), device=kit.device)
    yield "plain float16 AMP, NCHW, SGD", plain_step(kit, network, x, y, torch.float16)
    x = x.contiguous(memory_format=torch.channels_last)
    yield "plain bfloat16 AMP, channels_last, SGD", plain_step(kit, network, x, y, torch.bfloat16)


def plain_step(kit: Kit, network: str, x: torch.Tensor, y: torch.Tensor, dtype: torch.dtype) -> Callable[[], object]:
    torch.backends.cudnn.benchmark = True
    layout = torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    net = torchvision.models.get_model(network, num_classes=2).to(kit.device, memory_format=layout).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4)
    scaler = GradScaler(kit.device.type, enabled=dtype == torch.float16)
    return lambda: one_step(kit, net, optimizer, scaler, (x, y), dtype)


def one_step(
    kit: Kit,
    net: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: Any,
    batch: tuple[torch.Tensor, torch.Tensor],
    dtype: torch.dtype,
) -> torch.Tensor:
    """Forward, cross entropy, backward, update, under automatic mixed precision on a GPU."""
    with torch.autocast(kit.device.type, dtype=dtype, enabled=kit.device.type == "cuda"):
        out = net(batch[0])
        loss = F.cross_entropy(out, batch[1])
    optimizer.zero_grad()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    return loss


def torchvision_reference(kit: Kit, folder: Path, network: str) -> Generator[None]:
    """What references/classification does with --amp: Pillow, random resized crops and flips in the workers as
    float32, DataLoader with pinned memory, float16 with a scaler, loss and accuracy read at every step."""
    from torchvision import transforms as t

    torch.backends.cudnn.benchmark = True
    s = kit.sizes
    prepared = t.Compose(
        [
            t.RandomResizedCrop(s.side, antialias=True),
            t.RandomHorizontalFlip(),
            t.PILToTensor(),
            t.ConvertImageDtype(torch.float),
            t.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    images = torchvision.datasets.ImageFolder(str(folder), prepared)
    loader = torch.utils.data.DataLoader(
        images, s.batch, shuffle=True, num_workers=s.workers + 1, pin_memory=kit.device.type == "cuda", drop_last=True
    )
    net = torchvision.models.get_model(network, num_classes=2).to(kit.device).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4)
    scaler = GradScaler(kit.device.type, enabled=kit.device.type == "cuda")
    while True:
        for x, y in loader:
            x, y = x.to(kit.device), y.to(kit.device)
            with torch.autocast(kit.device.type, dtype=torch.float16, enabled=kit.device.type == "cuda"):
                out = net(x)
                loss = F.cross_entropy(out, y)
            optimizer.zero_grad()
            scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            scaler.step(optimizer)
            scaler.update()
            float((out.argmax(1) == y).float().mean())
            loss.item()
            yield


def timm_loop(kit: Kit, folder: Path, network: str) -> Generator[None]:
    """timm's model, loader (which normalises on the GPU, one batch ahead) and optimizer with its train script's
    defaults, bfloat16 and channels_last."""
    import timm
    from timm.data import create_dataset, create_loader, resolve_data_config  # type: ignore[attr-defined]
    from timm.optim import create_optimizer_v2  # type: ignore[attr-defined]

    torch.backends.cudnn.benchmark = True
    s = kit.sizes
    net = timm.create_model(network, num_classes=2).train()
    net = net.to(kit.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    data = resolve_data_config({"input_size": (3, s.side, s.side)}, model=net)  # type: ignore[no-untyped-call]
    loader = create_loader(
        create_dataset("", root=str(folder), is_training=True, batch_size=s.batch),
        input_size=data["input_size"],
        batch_size=s.batch,
        is_training=True,
        color_jitter=0.4,
        interpolation="random",
        mean=data["mean"],
        std=data["std"],
        num_workers=s.workers + 1,
        use_prefetcher=kit.device.type == "cuda",
        pin_memory=kit.device.type == "cuda",
        device=kit.device,
        persistent_workers=True,
    )
    optimizer = create_optimizer_v2(net, opt="sgd", lr=1e-4, weight_decay=2e-5, momentum=0.9)
    scaler = GradScaler(kit.device.type, enabled=False)
    while True:
        for x, y in loader:
            x = x.to(kit.device).contiguous(memory_format=torch.channels_last)
            one_step(kit, net, optimizer, scaler, (x, y.to(kit.device)), torch.bfloat16)
            yield


#: Epochs without end, a None after each step.
EPOCHS: dict[str, Callable[[Kit, Path, str], Generator[None]]] = {
    "torchvision's reference recipe, --amp": torchvision_reference,
    "timm's parts, --amp --channels-last": timm_loop,
}
