"""YAML that a person wrote: aliases that blow up, or that contain themselves, are refused before anything is built."""

from __future__ import annotations

from typing import Any

#: Nodes that a document may have when every alias is written out.
MOST = 100_000


def read_yaml(text: str, loader: Any = None) -> Any:
    """What a YAML text holds.

    Args:
        loader: a SafeLoader; default: that one.

    Raises:
        yaml.YAMLError: it is none, it is nested too deep, or its aliases make it too large.
    """
    import yaml

    loader = loader or yaml.SafeLoader
    try:
        node = yaml.compose(text, loader)
        if node is not None and _count(node, {}) > MOST:
            raise yaml.YAMLError(f"with its aliases written out it has more than {MOST:,} values")
        return yaml.load(text, loader)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deep, or an alias contains itself") from None
    except (ValueError, OverflowError) as error:  # numbers and dates that Python does not have
        raise yaml.YAMLError(f"{error}") from None


def _count(node: Any, known: dict[int, int]) -> int:
    """Values of a node with all aliases written out; a node within itself is RecursionError."""
    if id(node) not in known:
        below = node.value if isinstance(node.value, list) else []
        known[id(node)] = -1
        total = 1
        for one in below:
            total += sum(_count(part, known) for part in one) if isinstance(one, tuple) else _count(one, known)
        known[id(node)] = total
    if known[id(node)] < 0:
        raise RecursionError
    return known[id(node)]
