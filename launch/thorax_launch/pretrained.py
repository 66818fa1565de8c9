"""Published weights as one .safetensors file: what `thorax weights make` fetches by the library that publishes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thorax.errors import ThoraxError
from thorax.files import check_output, write_whole
from thorax.models.registry import MODELS, TIMM

if TYPE_CHECKING:
    import torch

#: Begins the names of torchxrayvision's DenseNets, such as torchxrayvision/densenet121-res224-all.
XRAY_VISION = "torchxrayvision/"
#: What libraries raise where there is no network, by the words in it.
_OFFLINE = (
    *("urlopen error", "HTTP Error", "ConnectionError", "Connection", "resolve", "LocalEntryNotFound", "timed out"),
    *("Cannot find the requested files", "offline", "outgoing traffic", "getaddrinfo", "Errno -"),
)


@dataclass(frozen=True)
class Published:
    """Weights and what is known of them.

    Attributes:
        facts: text by name, kept in the file's metadata: network, source, mean, std, labels.
    """

    state: Mapping[str, torch.Tensor]
    facts: Mapping[str, str]


def fetch(name: str, version: str = "") -> Published:
    """Published weights of a network, downloaded by torchvision, timm or torchxrayvision.

    Args:
        name: a network of torchvision, timm/NAME, torchxrayvision/NAME, or a weights file to convert.
        version: torchvision's name of the weights, such as IMAGENET1K_V1; "": its best.

    Raises:
        ThoraxError: there are none, the library is not installed, or there is no network.
    """
    if version and (name.startswith((TIMM, XRAY_VISION)) or Path(name).is_file()):
        raise ThoraxError(f"--version {version} is for torchvision's networks; {name} has none")
    try:
        if name.startswith(XRAY_VISION):
            return _of_torchxrayvision(name.removeprefix(XRAY_VISION))
        if name.startswith(TIMM):
            return _of_timm(name)
        if Path(name).is_file():
            return _of_file(Path(name))
        if Path(name).suffix or "/" in name:
            raise ThoraxError(
                f"{name} is neither a file nor a network: give a weights file, a network of torchvision, {TIMM}NAME or"
                f" {XRAY_VISION}NAME"
            )
        return _of_torchvision(name, version)
    except ThoraxError:
        raise
    except Exception as error:
        words = f"{type(error).__name__}: {' '.join(str(error).split())}"
        if any(mark in words for mark in _OFFLINE):
            raise ThoraxError(
                f"the weights of {name} cannot be downloaded here ({words[:160]}): run the same command on a machine"
                " with a network, and bring the file"
            ) from None
        raise ThoraxError(f"the weights of {name} cannot be made: {words[:300]}") from None


def write(published: Published, out: Path) -> int:
    """Writes a .safetensors file, whole or not at all; its bytes.

    Raises:
        ThoraxError: another ending, or the file cannot be written.
    """
    check_out(out)
    from safetensors.torch import save

    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in published.state.items()}
    content = save(tensors, metadata=dict(published.facts))
    write_whole(content, out, "weights")
    return len(content)


def check_out(out: Path) -> None:
    """Raises ThoraxError where `out` has another ending or cannot be written; before anything is downloaded."""
    if out.suffix != ".safetensors":
        raise ThoraxError(f"--out {out} must end in .safetensors, such as {out.with_suffix('.safetensors').name}")
    check_output(out, "--out")


def _of_torchvision(name: str, version: str) -> Published:
    from thorax.models.families import FAMILY_OF

    MODELS[name]  # raises for an unknown name, with the nearest
    if name not in FAMILY_OF:
        raise ThoraxError(
            f"there are no published weights of {name}: train it from scratch, or give a file of your own"
        )
    from torchvision.models import get_model_weights

    known: Any = get_model_weights(name)
    if version and version not in known.__members__:
        raise ThoraxError(f"--version {version} is not one of {', '.join(known.__members__)}, torchvision's of {name}")
    chosen = known[version] if version else known.DEFAULT
    state = chosen.get_state_dict(progress=True, check_hash=True)
    transforms = chosen.transforms()
    facts = {"network": name, "source": f"torchvision {chosen}", **_statistics(transforms.mean, transforms.std)}
    return Published(state, facts)


def _of_timm(name: str) -> Published:
    from thorax.models import timm_nets

    timm_nets.check_name(name)
    import timm

    net: Any = timm.create_model(name.removeprefix(TIMM), pretrained=True)
    cfg = net.pretrained_cfg
    source = f"timm {cfg.get('architecture', '')}.{cfg.get('tag', '')}".rstrip(".")
    return Published(net.state_dict(), {"network": name, "source": source, **_statistics(cfg["mean"], cfg["std"])})


def _of_torchxrayvision(name: str) -> Published:
    try:
        from torchxrayvision import models
    except ImportError:
        raise ThoraxError(f"{XRAY_VISION}{name} needs torchxrayvision: pip install 'torchxrayvision>=1.3,<2'") from None
    known = [key for key in models.model_urls if key.startswith("densenet")]
    if name not in known:
        raise ThoraxError(f"{XRAY_VISION}{name} is not one of {', '.join(XRAY_VISION + key for key in known)}")
    try:
        state = _of_file(Path(models.get_weights(name))).state
    except (
        ThoraxError
    ):  # a network in torch's old format: by torchxrayvision's own loader, which unpickles its own file
        state = models.DenseNet(weights=name).state_dict()
    facts = {
        "network": "densenet121",
        "source": f"torchxrayvision {name}",
        "labels": json.dumps(models.model_urls[name]["labels"]),
        **_statistics([0.5], [1 / 2048]),  # its images are -1024 to 1024 where ours are 0 to 255
    }
    return Published(state, facts)


def _of_file(file: Path) -> Published:
    """The largest state_dict of any file or archive that training takes, wrappers' prefixes and all."""
    from thorax.models.weights import find_weights
    from thorax.models.weights_file import read_weights
    from thorax.models.weights_source import guess_network

    found = read_weights(find_weights(file))
    network = guess_network(found.largest[1])
    facts = {"network": network} if network.startswith(TIMM) or network in MODELS else {}
    facts |= {"source": file.name, **{k: v for k, v in found.facts.items() if isinstance(v, str)}}
    if found.labels:
        facts["labels"] = json.dumps(found.labels)
    return Published(found.largest[1], facts)


def _statistics(mean: Any, std: Any) -> dict[str, str]:
    return {"mean": json.dumps([float(x) for x in mean]), "std": json.dumps([float(x) for x in std])}
