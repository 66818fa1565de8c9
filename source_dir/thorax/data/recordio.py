"""MXNet RecordIO (.rec), the format of the built-in algorithm: read by offset, and written."""

from __future__ import annotations

from thorax.data.source import ByteRange


class SplitRecord(ByteRange):
    """A record in several parts."""

    __slots__ = ()
