"""Files to and from S3 under a bar: how many bytes and files of all are there."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

from thorax.text import counted
from thorax.tracking.progress import BYTE, Progress

#: Files at once.
AT_ONCE = 16


class Transfer:
    """Counts bytes and files as they come, from any thread.

    Args:
        title: such as "uploading".
        files: how many.
        total: of all of them, in `unit`.
        unit: what is counted.
    """

    def __init__(self, title: str, files: int, total: int, unit: str = BYTE) -> None:
        self._progress, self._lock = Progress(title, total, unit), threading.Lock()
        self._files, self._done = files, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.close()

    def moved(self, count: int) -> None:
        """`count` units more are there: boto3's Callback, of bytes."""
        with self._lock:
            self._progress.step(count=count)

    def file_done(self) -> None:
        """A file is there."""
        with self._lock:
            self._done += 1
            if self._files > 1:
                self._progress.note = f"{self._done:,} of {counted(self._files, 'file')}"


def download(s3: Any, files: Mapping[tuple[str, str], Path], title: str = "downloading") -> None:
    """Fetches objects, sixteen at a time, under a bar on a terminal: of many it counts files, of a few bytes.

    Args:
        s3: boto3's client.
        files: (bucket, key) -> where it goes here.
        title: of the bar.

    Raises:
        botocore's errors: AWS refuses.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        few = len(files) <= AT_ONCE
        total = sum(pool.map(lambda place: _size(s3, *place), files)) if few else len(files)
        with Transfer(title, len(files), total, BYTE if few else "file") as transfer:

            def fetch(entry: tuple[tuple[str, str], Path]) -> None:
                (bucket, key), file = entry
                s3.download_file(bucket, key, str(file), Callback=transfer.moved if few else None)
                if few:
                    transfer.file_done()
                else:
                    transfer.moved(1)

            for _ in pool.map(fetch, files.items()):
                pass


def _size(s3: Any, bucket: str, key: str) -> int:
    return int(s3.head_object(Bucket=bucket, Key=key)["ContentLength"])
