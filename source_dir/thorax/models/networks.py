"""ResNet 18-152, AlexNet and the five-layer CNN: one or three input channels, any number of logits, weights in."""

from __future__ import annotations

import re
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from types import MethodType
from typing import Any

import torch
import torchvision
from torch import nn
from torch.utils.checkpoint import checkpoint

from thorax.errors import ThoraxError


class FiveLayerCNN(nn.Module):
    """Five 3x3 convolutions (16 to 256 filters) with batch norm, ReLU and 2x2 max pooling, then two dense layers.

    Made for images of 112x160 pixels, which leave a 3x5 map; other sizes are pooled to it.
    """

    def __init__(self, channels: int, outputs: int, dropout: float) -> None:
        super().__init__()
        widths = (channels, 16, 32, 64, 128, 256)
        self.features = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True), nn.MaxPool2d(2)
                )
                for a, b in pairwise(widths)
            )
        )
        self.pool = nn.AdaptiveAvgPool2d((3, 5))
        self.dense = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(256 * 15, 2048), nn.ReLU(inplace=True), nn.Dropout(dropout)
        )
        self.fc = nn.Linear(2048, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(self.dense(torch.flatten(self.pool(self.features(x)), 1)))
        return logits


def build(
    network: str, channels: int, outputs: int, dropout: float = 0.0, activation_checkpointing: bool = False
) -> nn.Module:
    """A freshly initialised network: (N, channels, H, W) float -> (N, outputs) logits.

    Args:
        network: resnet18, resnet34, resnet50, resnet101, resnet152, alexnet or cnn5.
        channels: 1 or 3.
        dropout: 0..1; before the last layer (ResNets) or in the dense layers.
        activation_checkpointing: keep only each block's input in the forward pass.

    Raises:
        ThoraxError: another network.
    """
    if network == "cnn5":
        net: Any = FiveLayerCNN(channels, outputs, dropout)
    elif network == "alexnet":
        net = torchvision.models.alexnet(num_classes=outputs, dropout=dropout)
        net.features[0] = _first_layer(net.features[0], channels)
    else:
        resnet = getattr(torchvision.models, network, None) if network.startswith("resnet") else None
        if resnet is None:
            raise ThoraxError(
                f"network={network} is not known here; choose resnet18, 34, 50, 101 or 152, alexnet or cnn5"
            )
        net = resnet(num_classes=outputs)
        net.conv1 = _first_layer(net.conv1, channels)
        if dropout:
            net.fc = nn.Sequential(nn.Dropout(dropout), net.fc)
    if activation_checkpointing:
        _checkpoint_activations(net)
    assert isinstance(net, nn.Module)
    return net


def _first_layer(conv: nn.Conv2d, channels: int) -> nn.Conv2d:
    if channels == conv.in_channels:
        return conv
    options: Any = {name: getattr(conv, name) for name in ("kernel_size", "stride", "padding")}
    return nn.Conv2d(channels, conv.out_channels, bias=conv.bias is not None, **options)


def stages(net: nn.Module) -> list[nn.Module]:
    """The network's parts from the input to the head, for freezing and layer-wise learning rates.

    The last is the head.
    """
    if isinstance(net, FiveLayerCNN):
        return [*net.features, net.dense, net.fc]
    if isinstance(net, torchvision.models.AlexNet):
        convs = [nn.ModuleList([layer]) for layer in net.features if isinstance(layer, nn.Conv2d)]
        return [*convs, net.classifier[1], net.classifier[4], net.classifier[6]]
    assert isinstance(net, torchvision.models.ResNet)
    return [nn.ModuleList([net.conv1, net.bn1]), net.layer1, net.layer2, net.layer3, net.layer4, net.fc]


def freeze(net: nn.Module, trained: int) -> None:
    """Leaves the last `trained` stages (1 = the head alone) to be trained; the others keep weights and statistics."""
    parts = stages(net)
    for k, stage in enumerate(parts):
        train = k >= len(parts) - trained
        for p in stage.parameters():
            p.requires_grad_(train)
        for module in stage.modules():
            module.frozen = not train  # type: ignore[assignment]


def train_mode(net: nn.Module) -> None:
    """net.train(), but with the batch norm of frozen stages left in evaluation mode."""
    net.train()
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and getattr(module, "frozen", False):
            module.eval()


def _checkpoint_activations(net: nn.Module) -> None:
    """Makes every residual block (or convolution stage) compute its inside again in the backward pass."""
    blocks = [
        m
        for m in net.modules()
        if isinstance(m, torchvision.models.resnet.BasicBlock | torchvision.models.resnet.Bottleneck)
    ]
    if isinstance(net, FiveLayerCNN):
        blocks = list(net.features)  # type: ignore[arg-type]
    for block in blocks:
        # A bound method, so that a deep copy of the network (the average of the weights) has its own.
        block.forward = MethodType(_again(type(block).forward), block)  # type: ignore[method-assign]


def _again(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(block: nn.Module, x: torch.Tensor) -> Any:
        if not torch.is_grad_enabled():
            return forward(block, x)
        return checkpoint(
            forward, block, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _statistics_kept(block))
        )

    return run


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Batch norm's running statistics stay as they are: the second pass over the same images must not count."""
    norms = [m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    kept = [(m.momentum, m.num_batches_tracked.clone() if m.num_batches_tracked is not None else None) for m in norms]
    for m in norms:
        m.momentum = 0.0
    try:
        yield
    finally:
        for m, (momentum, tracked) in zip(norms, kept, strict=True):
            m.momentum = momentum
            if tracked is not None and m.num_batches_tracked is not None:
                m.num_batches_tracked.copy_(tracked)


# -- Weights in ----------------------------------------------------------------------------------------------------


def find_weights(given: Path) -> Path:
    """The one .pt, .pth or .bin file that `given` is or holds; of an earlier job's model.tar.gz its model.pt.

    Raises:
        ThoraxError: it does not exist, or holds none or several.
    """
    if given.is_file():
        return _unpacked(given) if given.name.endswith(".tar.gz") else given
    if not given.is_dir():
        raise ThoraxError(f"weights={given} does not exist")
    if (packed := given / "model.tar.gz").is_file():
        return _unpacked(packed)
    files = sorted(p for p in given.iterdir() if p.suffix in (".pt", ".pth", ".bin"))
    if len(files) != 1:
        raise ThoraxError(f"weights={given} holds {len(files)} weight files (.pt, .pth, .bin); it must hold one")
    return files[0]


def _unpacked(archive: Path) -> Path:
    """A temporary file with the model.pt at the top of a model.tar.gz, which SageMaker brings as it is."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            member = next((one for one in tar if one.isfile() and one.name.removeprefix("./") == "model.pt"), None)
            if member is None:
                raise ThoraxError(
                    f"weights={archive} holds no model.pt at its top; give the model.tar.gz that a job of this package"
                    " left"
                )
            folder = Path(tempfile.mkdtemp(prefix="weights-"))
            tar.extract(member, folder, filter="data")
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ThoraxError(f"weights={archive} is not a readable .tar.gz: {error}") from None
    return folder / member.name


def load_weights(net: nn.Module, file: Path) -> list[str]:
    """Loads a plain state_dict in torchvision's layout into the network.

    A first layer of three channels is adapted to one by summing its filters over the channels (grey in all three gives
    the same response); one channel to three by a third of it each. A head of another size is left as initialised.

    Returns:
        What was adapted, one line each, for the log.

    Raises:
        ThoraxError: not a readable state_dict of tensors, or other layers than the network's (which ones).
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ThoraxError(
            f"weights={file} is not a state_dict that torch.load(weights_only=True) reads: {_why(file, error)}; "
            "give one that torch.save(net.state_dict(), FILE) wrote"
        ) from None
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    if not isinstance(state, dict) or not state or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise ThoraxError(f"weights={file} is not a state_dict (names to tensors)")
    state = {key.removeprefix("module."): value for key, value in state.items()}
    own = net.state_dict()
    head = [key for key in own if key.startswith(_head_prefix(net))]
    if any(k.startswith("fc.1.") for k in own):  # our dropout makes the ResNet's head fc.1
        state = {("fc.1." + k[3:] if k in ("fc.weight", "fc.bias") else k): v for k, v in state.items()}
    elif "fc.weight" in own:  # and one saved with dropout is taken without it
        state = {("fc." + k[5:] if k in ("fc.1.weight", "fc.1.bias") else k): v for k, v in state.items()}
    notes = _adapt(state, own, head)
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    extra = [k for k in state if k not in own]
    other = [
        f"{k} {tuple(state[k].shape)} for {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    if missing or extra or other:
        parts = [(missing, "missing"), (extra, "not in this network"), (other, "of another shape")]
        told = "; ".join(
            f"{len(found)} {what}: {', '.join(found[:3])}{', ...' if len(found) > 3 else ''}"
            for found, what in parts
            if found
        )
        raise ThoraxError(
            f"weights={file} does not fit the network: {told}; choose the network that the file was saved from"
        )
    net.load_state_dict(state, strict=False)
    return notes


def _head_prefix(net: nn.Module) -> str:
    return "classifier.6." if isinstance(net, torchvision.models.AlexNet) else "fc."


def _adapt(state: dict[str, torch.Tensor], own: dict[str, torch.Tensor], head: list[str]) -> list[str]:
    notes = []
    first = next(k for k, v in own.items() if v.ndim == 4)
    if first in state and state[first].ndim == 4 and state[first].shape[1] != own[first].shape[1]:
        channels = state[first].shape[1], own[first].shape[1]
        if channels == (3, 1):
            state[first] = state[first].sum(dim=1, keepdim=True)
        elif channels == (1, 3):
            state[first] = state[first].expand(-1, 3, -1, -1) / 3
        notes.append(f"first layer {first} adapted from {channels[0]} input channels to {channels[1]}")
    replaced = [k for k in head if k not in state or state[k].shape != own[k].shape]
    if replaced:
        state.update({k: own[k] for k in head})
        notes.append(f"head {', '.join(head)} is new")
    return notes


def _why(file: Path, error: Exception) -> str:
    """What the file holds instead.

    Of a file that is none of its own torch says only that weights_only=False may help, or names a byte.
    """
    if found := re.search(r"Unsupported global: GLOBAL (\S+)", str(error)):
        return f"it holds more than tensors, a {found[1]}"
    if isinstance(error, OSError | RuntimeError):
        return str(error).splitlines()[0].partition(". In PyTorch")[0][:200]
    with file.open("rb") as stream:
        return f"its {file.stat().st_size} bytes begin with {stream.read(30)!r}"


# -- Batch norm over all processes ---------------------------------------------------------------------------------


class _AllReduceSum(torch.autograd.Function):
    """Sum over all processes whose backward pass sums the gradients too."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        out = x.clone()
        torch.distributed.all_reduce(out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        out = grad.contiguous().clone()
        torch.distributed.all_reduce(out)
        return out


def _sum_over_processes(x: torch.Tensor) -> torch.Tensor:
    summed: torch.Tensor = _AllReduceSum.apply(x)  # type: ignore[no-untyped-call]
    return summed


class SyncBatchNormCPU(nn.BatchNorm2d):
    """nn.SyncBatchNorm for CPU tensors (torch's own is for GPUs): statistics over the images of all processes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return super().forward(x)
        y = x.float()
        c = y.shape[1]
        sums = _sum_over_processes(torch.cat([y.sum((0, 2, 3)), y.new_tensor([y.numel() / c])]))
        count = sums[-1].detach()
        mean = sums[:c] / count
        centred = y - mean[:, None, None]
        var = _sum_over_processes((centred * centred).sum((0, 2, 3))) / count
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            m = self.momentum if self.momentum is not None else 0.1
            self.running_mean.lerp_(mean.detach(), m)
            self.running_var.lerp_(var.detach() * count / (count - 1).clamp(min=1), m)
        return (centred * (self.weight * torch.rsqrt(var + self.eps))[:, None, None] + self.bias[:, None, None]).to(
            x.dtype
        )


def sync_batchnorm(net: nn.Module, device: str) -> nn.Module:
    """The network with batch norm over all processes."""
    if device != "cpu":
        synced: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(net)  # type: ignore[no-untyped-call]
        return synced
    for parent in list(net.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                norm = SyncBatchNormCPU(
                    child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
                )
                norm.load_state_dict(child.state_dict())
                setattr(parent, name, norm)
    return net
