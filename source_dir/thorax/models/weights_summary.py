"""What a weights file is, for a person: `thorax weights show`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from thorax.models.weights import find_weights
from thorax.models.weights_file import read_weights
from thorax.models.weights_source import guess_network, head_outputs, input_statistics, labels_of


def summary(place: Path) -> dict[str, Any]:
    """Facts by name, JSON-able: format, network, tensors, parameters, input channels, outputs, labels, prefix ...

    No code of the file is run.

    Raises:
        ThoraxError: it cannot be read, or holds no tensors by name.
    """
    file = find_weights(place)
    found = read_weights(file)
    part, state = found.largest
    prefix = _prefix(state)
    tensors = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    network = str(found.facts.get("network") or guess_network(tensors) or "not known")
    filters = [value.shape[1] for value in tensors.values() if value.ndim == 4]  # perhaps sorted by name
    buffers = ("op_threshs", "running_mean", "running_var")
    weights = [v for name, v in tensors.items() if v.is_floating_point() and not name.endswith(buffers)]
    facts: dict[str, Any] = {
        "file": str(place),
        "format": {"torch": "torch (read with weights_only=True)"}.get(found.kind, found.kind),
        "network": network,
        "tensors": len(tensors),
        "parameters": sum(value.numel() for value in weights),
        "types": sorted({str(value.dtype).removeprefix("torch.") for value in tensors.values()}),
        "input channels": 3 if 3 in filters else int(filters[0]) if filters else "not known",
        "outputs": head_outputs(tensors) or "not known",
        "labels": [name or "(not trained)" for name in labels_of(found, tensors)] or "not said",
        "part": part or "the whole file",
        "other parts": [name or "the top" for name in found.states if name != part] or "none",
        "prefix": prefix or "none",
        "images": str(input_statistics(found, tensors, network) or "not known"),
    }
    if "source" in found.facts:
        facts["source"] = found.facts["source"]
    return facts


def _prefix(state: Any) -> str:
    """What stands before the names of most of a state's tensors and belongs to a wrapper, not to a network."""
    prefix, names = "", list(state)
    while True:
        heads: dict[str, int] = {}
        for name in names:
            head = name.removeprefix(prefix).split(".")[0]
            heads[head] = heads.get(head, 0) + 1
        common, count = max(heads.items(), key=lambda item: item[1])
        inside = prefix + common + "."
        transformer = any(name.startswith(f"{inside}layer") and "conv" not in name for name in names)
        if common not in _WRAPPERS or 2 * count < len(names) or (common == "encoder" and transformer):
            return prefix
        prefix, names = inside, [name for name in names if name.startswith(inside)]


#: Attributes that wrappers keep their network under.
_WRAPPERS = {
    *("module", "model", "net", "network", "backbone", "encoder", "encoder_q", "base_encoder", "teacher", "student"),
    *("online_network", "target_encoder", "_orig_mod", "feature_extractor", "trunk", "momentum_encoder", "ema_model"),
}
