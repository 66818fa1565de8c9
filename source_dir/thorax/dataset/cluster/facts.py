"""What the images of one unit are, as bytes: what `check` and `stats` need of them, without the images."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from thorax.data.decoders import Header
from thorax.dataset.inspection import ImageInfo


def facts_to_bytes(infos: Sequence[ImageInfo]) -> bytes:
    """Of several images: problem, header, hash and small version of each, and the grey levels of all together."""
    rows = [
        {"problem": info.problem, "header": asdict(info.header), "sha256": info.sha256, "color": info.color}
        for info in infos
    ]
    small = [info.small for info in infos if info.small is not None]
    greys = [info.greys for info in infos if info.greys is not None]
    out = io.BytesIO()
    np.savez(
        out,
        rows=np.frombuffer(json.dumps(rows, ensure_ascii=False).encode(), np.uint8),
        has_small=np.array([info.small is not None for info in infos], bool),
        small=np.stack(small) if small else np.zeros((0, 0, 0), np.uint8),
        greys=np.sum(greys, axis=0, dtype=np.int64) if greys else np.zeros(256, np.int64),
    )
    return out.getvalue()


def facts_from_bytes(data: bytes) -> tuple[list[ImageInfo], np.ndarray]:
    """(the images without their grey levels, how many pixels of all of them have each level: see ImageInfo.greys)."""
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        rows = json.loads(stored["rows"].tobytes())
        small, has_small, greys = stored["small"], stored["has_small"], stored["greys"]
    at = np.cumsum(has_small) - 1
    infos = [
        ImageInfo(
            row["problem"],
            Header(**row["header"]),
            row["sha256"],
            small[at[k]] if has_small[k] else None,
            color=tuple(row.get("color", (0.0, 0.0))),
        )
        for k, row in enumerate(rows)
    ]
    return infos, greys
