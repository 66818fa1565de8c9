"""Shared memory without room for batches of reading workers is told before anything waits for ever."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from thorax.data import shared_memory
from thorax.data.shared_memory import check_room, lack_of_room
from thorax.errors import ThoraxError

About = namedtuple("About", "f_bavail f_blocks f_frsize")

#: Batches of 32 kB read by two workers, in a mount of its own.
READ = """
mount -t tmpfs -o size={size} tmpfs /dev/shm || exit 77
exec "{python}" - <<'END'
import numpy as np, torch
from torch.utils.data import Dataset
from thorax.data.loading import Batch, BatchRequest, loader
class Images(Dataset):
    def __getitem__(self, request):
        nothing = torch.zeros(0, dtype=torch.int64)
        return Batch(torch.full((8, 64, 64), int(request.places[0]), dtype=torch.uint8), nothing, nothing, nothing)
try:
    requests = [BatchRequest(np.array([k])) for k in range(12)]
    print([int(batch.images[0, 0, 0]) for batch in loader(Images(), requests, 2)])
except Exception as error:
    print(type(error).__name__, error)
END
"""


def on_a_system_with(monkeypatch: pytest.MonkeyPatch, free: int, whole: int) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: About(free // 4096, whole // 4096, 4096))


def test_room_is_needed_for_a_batch_of_every_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    on_a_system_with(monkeypatch, 64 << 10, 64 << 10)
    batch = [torch.zeros(30_000, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)]  # 8 + 1 pages
    assert lack_of_room(batch, 1) == ""
    assert lack_of_room(batch, 2) == (
        "shared memory is too small for 2 reading workers: /dev/shm has 65.5 kB free of 65.5 kB, 73.7 kB are needed;"
        " set num_workers=0, or enlarge it (docker run --shm-size=1g); a smaller batch_size needs less"
    )
    check_room(2)
    with pytest.raises(ThoraxError, match=r"for 16 reading workers: .* set num_workers=0"):
        check_room(16)


def test_a_worker_waits_a_while_for_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "PATIENCE", 0.1)
    on_a_system_with(monkeypatch, 0, 64 << 10)
    assert "has 0 bytes free of 65.5 kB" in lack_of_room([torch.zeros(100)], 1)


def test_a_system_without_shared_memory_or_limit_has_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert lack_of_room([torch.zeros(10**6)], 8, tmp_path / "none") == ""
    on_a_system_with(monkeypatch, 0, 0)
    assert lack_of_room([torch.zeros(10**6)], 8) == ""


@pytest.mark.parametrize(
    ("size", "told"),
    [
        ("32k", "ThoraxError shared memory is too small for 2 reading workers: /dev/shm has 32.8 kB free of 32.8 kB"),
        ("64k", "ThoraxError shared memory is too small for 2 reading workers: /dev/shm has"),
        ("640k", str(list(range(12)))),
    ],
)
def test_a_small_one_never_makes_a_run_hang(size: str, told: str) -> None:
    if os.geteuid():
        pytest.skip("only root may mount")
    script = READ.format(size=size, python=sys.executable)
    try:
        done = subprocess.run(["unshare", "-m", "bash", "-c", script], capture_output=True, text=True, timeout=100)
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip("this container may not mount")
    assert done.stdout.startswith(told), done.stderr
    assert done.returncode == 0
