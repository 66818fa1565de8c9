"""Reads .safetensors files without the package of that name, which serving images need not have: an endpoint starts
without a network, and so installs nothing.

Layout (https://github.com/huggingface/safetensors#format): 8 bytes, the length of the header; the header, JSON of
name -> {dtype, shape, data_offsets}; the numbers, little-endian, without holes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, BinaryIO

import torch

DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16},
    **{"F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "C64": torch.complex64, "BOOL": torch.bool},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8},
    **{"U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16},
}
#: Bytes of a header, at most: the package's own limit.
LARGEST_HEADER = 100_000_000


def looks_like_safetensors(head: bytes) -> bool:
    """Whether a file that begins with these 9 bytes is one."""
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") <= LARGEST_HEADER


def read_safetensors(file: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """(names to tensors, its metadata).

    Raises:
        ValueError: it is damaged: header and numbers do not fit each other.
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        size = file.stat().st_size - 8 - length
        if size < 0 or length > LARGEST_HEADER:
            raise ValueError(f"its header would have {length} bytes, more than there are")
        try:
            header = json.loads(stream.read(length))
        except (ValueError, RecursionError):
            raise ValueError("its header is no JSON") from None
        if not isinstance(header, dict):
            raise ValueError("its header is no mapping")
        metadata = header.pop("__metadata__", None) or {}
        state = {name: _tensor(stream, name, entry) for name, entry in _in_order(header, size)}
    return {name: state[name] for name in header}, {str(k): str(v) for k, v in dict(metadata).items()}


def _in_order(header: dict[str, Any], size: int) -> list[tuple[str, dict[str, Any]]]:
    """The entries as they lie in the file.

    Raises:
        ValueError: one is wrong, or they do not fill the file.
    """
    for name, entry in header.items():
        try:
            (start, end), shape = entry["data_offsets"], entry["shape"]
            wanted = math.prod(shape) * DTYPES[entry["dtype"]].itemsize
            right = all(type(n) is int and n >= 0 for n in (start, end, *shape)) and end - start == wanted
        except (KeyError, TypeError, ValueError):
            right = False
        if not right:
            raise ValueError(f"its entry of {name[:60]!r} is {json.dumps(entry)[:80]}")
    entries = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    ends = [0, *(entry["data_offsets"][1] for _, entry in entries)]
    if [entry["data_offsets"][0] for _, entry in entries] != ends[:-1] or ends[-1] != size:
        raise ValueError(f"its {size} bytes of numbers are not those that its header lists")
    return entries


def _tensor(stream: BinaryIO, name: str, entry: dict[str, Any]) -> torch.Tensor:
    start, end = entry["data_offsets"]
    if start == end:
        return torch.empty(entry["shape"], dtype=DTYPES[entry["dtype"]])
    content = bytearray(end - start)
    if stream.readinto(content) != len(content):  # type: ignore[attr-defined]
        raise ValueError(f"it ends within {name[:60]!r}")
    return torch.frombuffer(content, dtype=DTYPES[entry["dtype"]]).reshape(entry["shape"])
