"""Any network of timm, by `timm/NAME`; timm is imported when one is asked for."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from thorax.errors import ThoraxError
from thorax.models.layers import parts_of
from thorax.models.registry import TIMM, spec_of


def build(name: str, channels: int, outputs: int, dropout: float) -> nn.Module:
    """timm's network of that name.

    Raises:
        ThoraxError: timm is not installed, or has no such network (the nearest three).
    """
    net: Any = _timm(name).create_model(
        name.removeprefix(TIMM), in_chans=channels, num_classes=outputs, drop_rate=dropout
    )
    head = net.pretrained_cfg.get("classifier", "head")
    net.spec = replace(spec_of(name), head=(head if isinstance(head, str) else head[0]) + ".")
    return net  # type: ignore[no-any-return]


def check_name(name: str) -> None:
    """Raises ThoraxError where timm is not installed, or has no such network (the nearest three)."""
    _timm(name)


def check(name: str, channels: int, height: int, width: int) -> None:
    """Tries a network on an image of that size without computing anything.

    Raises:
        ThoraxError: as `build`; or the network does not take the size.
    """
    _timm(name)
    with torch.device("meta"):
        net = build(name, channels, 2, 0.0).eval()
        try:
            net(torch.empty(1, channels, height, width))
        except Exception as error:
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ThoraxError(
                f"network={name} does not take images of {height}x{width} pixels: {reason}; its own size is"
                f" {'x'.join(map(str, own_size(net)))}: set image_shape"
            ) from None


def stages(net: Any) -> list[nn.Module]:
    """The top-level parts in their order; the one that holds nearly all the depth is split into its blocks."""
    total = sum(p.numel() for p in net.parameters())
    large = [
        part
        for part in net.children()
        if isinstance(part, nn.Sequential | nn.ModuleList) and sum(p.numel() for p in part.parameters()) * 10 >= total
    ]
    split = large[0] if len(large) == 1 and len(list(large[0].children())) > 1 else None
    head = net.get_submodule(net.spec.head.split(".")[0])
    parts: list[nn.Module] = []
    for part in parts_of(net):
        first, *norms = part if isinstance(part, nn.ModuleList) and part is not split else [part]
        if first is split:
            parts += parts_of(first)
            if norms:
                parts[-1] = nn.ModuleList([parts[-1], *norms])
        elif first is not head:
            parts.append(part)
        elif norms:
            parts.append(nn.ModuleList(norms))
    loose = [p for _, p in net.named_parameters(recurse=False)]
    if loose:
        parts[0] = nn.ModuleList([nn.ParameterList(loose), parts[0]])
    return [*parts, head]


def feature_map(net: Any) -> nn.Module:
    """The last module whose output is the network's map of features; of a transformer its last block's first norm.

    After a transformer's last block the class token alone counts, and no gradient reaches the other tokens.

    Raises:
        ThoraxError: neither is there.
    """
    if (blocks := getattr(net, "blocks", None)) is not None and hasattr(blocks[-1], "norm1"):
        return blocks[-1].norm1  # type: ignore[no-any-return]
    shapes: dict[str, torch.Size] = {}
    with torch.device("meta"):
        twin: Any = build(net.spec.name, _channels(net), 1, 0.0).eval()

        def called(place: str) -> Any:
            def keep(module: nn.Module, inputs: object, output: object) -> None:
                if isinstance(output, torch.Tensor):
                    shapes.pop(place, None)  # the last call counts
                    shapes[place] = output.shape

            return keep

        for place, module in twin.named_modules():
            if place:
                module.register_forward_hook(called(place))
        shape = twin.forward_features(torch.empty(1, _channels(net), *own_size(twin))).shape
    if len(shape) == 4 and (same := [place for place, s in shapes.items() if s == shape]):
        return net.get_submodule(same[-1])  # type: ignore[no-any-return]
    raise ThoraxError(f"{net.spec.name} has no map of features that a heat map could be drawn of")


def _timm(name: str) -> Any:
    try:
        import timm
    except ImportError:
        raise ThoraxError(f"network={name} needs timm: pip install 'timm>=1,<2'") from None
    if not timm.is_model(short := name.removeprefix(TIMM)):
        nearest = difflib.get_close_matches(short, timm.list_models(), n=3, cutoff=0.3)
        raise ThoraxError(
            f"network={name}: timm {timm.__version__} has no {short}; the nearest are"
            f" {', '.join(TIMM + found for found in nearest) or 'none'}"
        )
    return timm


def _channels(net: nn.Module) -> int:
    return next(m for m in net.modules() if isinstance(m, nn.Conv2d)).in_channels


def own_size(net: Any) -> tuple[int, int]:
    """Height and width of the images that timm's weights of it were trained on."""
    _, height, width = net.pretrained_cfg.get("input_size", (3, 224, 224))
    return height, width
