"""Messages over the pipes to a child process: 8 bytes of length, then the bytes."""

from __future__ import annotations

import struct
from typing import BinaryIO


def send(pipe: BinaryIO, data: bytes) -> None:
    """Writes one message; raises OSError where the other side has gone."""
    pipe.write(struct.pack("<Q", len(data)))
    pipe.write(data)
    pipe.flush()


def receive(pipe: BinaryIO) -> bytes:
    """Reads one message; raises EOFError where the other side ends before its end."""
    head = pipe.read(8)
    if len(head) < 8:
        raise EOFError
    (size,) = struct.unpack("<Q", head)
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data
