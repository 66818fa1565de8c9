"""Checkpoints: all that a run needs to go on as if it had never stopped.

Whole files only; the last two and the best.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from thorax.config import TrainingConfig
from thorax.config.fields import about
from thorax.errors import ThoraxError
from thorax.files import damaged_part, write_whole

FORMAT = "thorax-checkpoint"
VERSION = 2
KEPT = 2
BEST = "best.pt"
#: Of a checkpoint's identity: the digest of its images' bytes (data/image_bytes.py); streamed ones have none.
IMAGES = "images"
#: Of a checkpoint's identity, how its run reads pixels; where an entry is absent, this. `color` is what was taken, gray
#: or rgb: the hyperparameter of that name may be auto and is not in it.
PIXELS = {"grey": 1, "color": "gray"}
_NAME = re.compile(r"^checkpoint-(\d{9})\.pt$")


def latest_compute(folder: Path) -> dict[str, Any] | None:
    """How the run of the newest readable checkpoint computes: precision, and (in newer ones) channels_last and
    threads; None where there is no checkpoint.
    """
    for file in _files(folder):
        try:
            state = _read(file, mmap=True)
            return {"precision": state["identity"]["precision"], **state.get("compute", {})}
        except (ValueError, KeyError, TypeError):
            continue  # load_latest reports it
    return None


def latest_pixels(folder: Path) -> tuple[int, str] | None:
    """The rules from pixels to grey levels (decoders.GREY) and the colour (gray or rgb) of the newest readable
    checkpoint's run; None where there is no checkpoint. Those of before have no such entries: 1 and gray."""
    for file in _files(folder):
        try:
            identity = _read(file, mmap=True)["identity"]
            pixels = PIXELS | identity
            return int(pixels["grey"]), str(pixels["color"])
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # load_latest reports it
    return None


def save_whole(state: dict[str, Any], file: Path, what: str) -> None:
    """torch.save, whole or not at all; raises ThoraxError as write_whole does."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_whole(buffer.getbuffer(), file, what)


class Checkpoints:
    """The checkpoint folder of one run.

    Args:
        folder: where they are.
        identity: what a checkpoint must have been made with: configuration that affects the result, split, world size.
        log: takes lines about files that were passed over.
    """

    def __init__(self, folder: Path, identity: dict[str, Any], log: Callable[[str], None]) -> None:
        self.folder, self.identity, self.log = folder, identity, log
        self._passed_over: set[Path] = set()

    def save(self, global_step: int, state: dict[str, Any]) -> None:
        """Writes a checkpoint and removes all but the newest KEPT; those that could not be read do not count.

        Raises:
            ThoraxError: it cannot be written; the earlier ones stay.
        """
        file = self.folder / f"checkpoint-{global_step:09d}.pt"
        save_whole({"format": FORMAT, "version": VERSION, "identity": self.identity, **state}, file, "checkpoint")
        self._passed_over.discard(file)
        readable = [file for file in _files(self.folder) if file not in self._passed_over]
        for old in [
            *readable[KEPT:],
            *self.folder.glob(".checkpoint-*.pt.partial"),
        ]:  # and what a killed run left half written
            old.unlink(missing_ok=True)

    def save_best(self, state: dict[str, Any]) -> None:
        save_whole({"format": FORMAT, "version": VERSION, **state}, self.folder / BEST, "best weights")

    def load_best(self) -> dict[str, Any]:
        """Raises ThoraxError where the file is damaged."""
        try:
            return _read(self.folder / BEST)
        except ValueError as error:
            raise ThoraxError(f"{self.folder / BEST} {error}; remove the folder's files and train again") from None

    def load_latest(self) -> dict[str, Any] | None:
        """The newest readable checkpoint, or None. Torn and foreign files are reported and passed over.

        Raises:
            ThoraxError: it belongs to a run with another configuration, split or number of processes.
        """
        for file in _files(self.folder):
            try:
                state = _read(file)
                if not isinstance(state.get("identity"), dict):
                    raise ValueError("is a foreign file, not a checkpoint of this program")
            except ValueError as error:
                self.log(f"warning: {file} {error}; trying the one before it")
                self._passed_over.add(file)
                continue
            self._check_identity(file, state["identity"])
            return state
        return None

    def _check_identity(self, file: Path, saved: dict[str, Any]) -> None:
        now = PIXELS | self.identity
        newer = {name: value for name, value in TrainingConfig().identity().items() if name in now}
        saved = PIXELS | newer | saved  # what the checkpoint's version did not have is at its default there
        free = {f.name for f in fields(TrainingConfig) if not about(f).affects_result}  # some did in earlier versions
        free -= PIXELS.keys()
        keys = [key for key in {**now, **saved} if key != IMAGES and key not in free]
        other = [f"{k}={saved.get(k)} there, {now.get(k)} here" for k in keys if saved.get(k) != now.get(k)]
        if other:
            named = "; ".join(other[:3]) + (f"; and {len(other) - 3} more" if len(other) > 3 else "")
            raise ThoraxError(
                f"checkpoint {file} is from another run ({named}); choose another job name or --checkpoint-dir, or"
                " remove it"
            )
        if IMAGES in now and now[IMAGES] != saved.get(IMAGES, now[IMAGES]):  # earlier checkpoints have none
            raise ThoraxError(
                f"the images are not those that checkpoint {file} was trained on: some have other bytes now; bring them"
                " back, or choose another job name or --checkpoint-dir to train anew on these"
            )


def _files(folder: Path) -> list[Path]:
    """The folder's checkpoints, the newest first."""
    return sorted((p for p in folder.glob("checkpoint-*.pt") if _NAME.match(p.name)), reverse=True)


def _read(file: Path, mmap: bool = False) -> dict[str, Any]:
    """The content of a checkpoint, once its bytes give the checksums in it; raises ValueError with the reason where the
    file is not one. With mmap, the checksums of its structure alone are compared: the tensors are not read."""
    try:
        part = damaged_part(file, "data.pkl" if mmap else "")
        state = {} if part else torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
    except FileNotFoundError:
        raise ValueError("does not exist") from None
    except Exception:
        raise ValueError("is torn or not a checkpoint") from None
    if part:
        raise ValueError(f"is damaged: its part {part} has another checksum than when it was written")
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ValueError("is a foreign file, not a checkpoint of this program")
    if state.get("version") != VERSION:
        raise ValueError(f"has version {state.get('version')}, this program reads {VERSION}")
    return state
