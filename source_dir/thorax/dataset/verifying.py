"""Whether a downloaded set is whole: its files against a list of names and checksums, or what is known of a set.

Files are hashed by several threads (hashlib works outside of Python's lock). What was hashed is remembered in the
user's cache with the file's size and time, so that a run that was stopped goes on, and a second one only looks.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from threading import Lock

from thorax import job
from thorax.data.decoders import EXTENSIONS
from thorax.dataset.checksum_lists import Listed
from thorax.dataset.known_sets import KnownSet
from thorax.errors import ThoraxError
from thorax.text import counted
from thorax.tracking.progress import Progress

#: Kinds of trouble, in the order in which they are told; the last is none that fails.
KINDS = ("missing", "other bytes", "unreadable", "count", "extra")
_SHOWN = 3


@dataclass(frozen=True)
class VerifyOptions:
    """How a folder is verified.

    Attributes:
        threads: that read at once.
        anew: hash everything, whatever was hashed before.
        partial: the folder is a part of the set: what is missing is no trouble.
        leave_out: a file that is none of the set, such as the list itself; None for none.
    """

    threads: int = 1
    anew: bool = False
    partial: bool = False
    leave_out: Path | None = None


@dataclass
class VerifyReport:
    """What verify found.

    Attributes:
        files: how many were looked at.
        hashed, remembered: of them, how many were read now, and how many were hashed before and are unchanged.
        bytes: that were read now.
        troubles: kind -> what, a line each; see KINDS.
        notes: lines of what is no trouble.
    """

    files: int = 0
    hashed: int = 0
    remembered: int = 0
    bytes: int = 0
    troubles: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(self, kind: str, what: Iterable[str]) -> None:
        """Adds trouble of a kind, if there is any."""
        if found := list(what):
            self.troubles.setdefault(kind, []).extend(found)

    @property
    def whole(self) -> bool:
        """Whether nothing is missing or other than listed; files that no list names do not count."""
        return not set(self.troubles) - {"extra"}

    def lines(self) -> list[str]:
        """One line a kind of trouble, with the first of its files."""
        words = {"missing": "file", "other bytes": "file", "unreadable": "file", "extra": "file that no list names"}
        plurals = {"extra": "files that no list names"}
        found = []
        for kind in KINDS:
            what = self.troubles.get(kind, [])
            if kind == "count":
                found += [f"count: {line}" for line in what]
            elif what:
                more = " ..." if len(what) > _SHOWN else ""
                shown = ", ".join(what[:_SHOWN])
                found.append(f"{kind}: {counted(len(what), words[kind], plurals.get(kind, ''))}: {shown}{more}")
        return found


def files_of(folder: Path, leave_out: Path | None = None) -> dict[str, Path]:
    """Path below the folder -> where it is, of all files that are not hidden; links are followed, each folder once.

    Raises:
        ThoraxError: it is no folder, or one below it cannot be read.
    """
    if not folder.is_dir():
        raise ThoraxError(f"{folder} is no folder")

    def fail(error: OSError) -> None:
        raise ThoraxError(f"the folder {error.filename} cannot be read: {error.strerror}")

    found, seen, own = {}, set(), leave_out.resolve() if leave_out else None
    for root, folders, names in os.walk(folder, followlinks=True, onerror=fail):
        seen.add(os.path.realpath(root))
        folders[:] = sorted(
            name for name in folders if name[0] != "." and os.path.realpath(os.path.join(root, name)) not in seen
        )
        for name in names:
            if name[0] != ".":
                path = Path(root, name)
                found[path.relative_to(folder).as_posix()] = path
    if own is not None:
        found = {name: path for name, path in found.items() if path.name != own.name or path.resolve() != own}
    return dict(sorted(found.items()))


def verify(folder: Path, entries: Iterable[Listed], options: VerifyOptions | None = None) -> VerifyReport:
    """Holds the files of a folder against a list.

    Args:
        folder: what was downloaded.
        entries: of the list; without checksums names alone are compared, and images alone are called extra.
        options: None: the defaults.

    Raises:
        ThoraxError: no such folder, or none of the listed files is there.
    """
    chosen = options or VerifyOptions()
    report, present, listed = VerifyReport(), files_of(folder, chosen.leave_out), list(entries)
    matched = _matched(listed, present, folder, report)
    there = [(one, matched[one.path]) for one in listed if one.path in matched]
    missing = [one.path for one in listed if one.path not in matched]
    if not there:
        raise ThoraxError(
            f"none of the {len(listed):,} listed files is in {folder}, e.g. {listed[0].path}; is it the folder above or"
            " below?"
        )
    _tell_missing(report, missing, chosen.partial, len(listed))
    checked, used = any(one.digest for one in listed), {path for _, path in there}
    report.add("extra", (name for name in present if name not in used and (checked or _is_image(name))))
    report.files = len(there)
    wrong = [path for one, path in there if one.size is not None and present[path].stat().st_size != one.size]
    known = set(wrong)
    sums = [(one, path) for one, path in there if one.digest and path not in known]
    digests = _hashed(folder, [(one.algorithm, path) for one, path in sums], present, report, chosen)
    wrong += [path for one, path in sums if digests.get(path) not in (None, one.digest)]
    report.add("other bytes", wrong)
    return report


def verify_known(folder: Path, known: KnownSet, *, partial: bool = False) -> VerifyReport:
    """Holds the files of a folder against the tables of a published set, and its published counts.

    Args:
        folder: the set's root.
        known: what is known of it; of archives see `verify`.
        partial: the folder is a part of the set: what is missing is no trouble, and nothing is counted.

    Raises:
        ThoraxError: no such folder, no image in it, or no table that names them.
    """
    report, present = VerifyReport(), files_of(folder)
    images = [name for name in present if re.fullmatch(known.image, name, re.IGNORECASE)]
    if not images:
        raise ThoraxError(f"{folder} has no image of {known.title}; is it the folder above or below?")
    report.files = len(images)
    if known.names:
        names = known.listed(present)
        there = {known.key(name) for name in images}
        _tell_missing(report, [name for name in names if name not in there], partial, len(names))
        report.add("extra", (name for name in images if known.key(name) not in names))
    if not partial:
        for part, count in known.counts.items():
            found = sum(f"/{part}" in f"/{name}" for name in images)
            if found != count:
                where = f" in {part.rstrip('/')}" if part else ""
                report.add("count", [f"{counted(found, 'image')}{where}, published are {count:,}"])
    return report


def _tell_missing(report: VerifyReport, missing: list[str], partial: bool, listed: int) -> None:
    if partial and missing:
        report.notes.append(f"{len(missing):,} of {counted(listed, 'listed file')} are not here, as --partial says")
    else:
        report.add("missing", missing)


def made_list(folder: Path, algorithm: str, options: VerifyOptions) -> list[Listed]:
    """A list of all files of a folder with sizes and checksums, by path.

    Args:
        folder: which one.
        algorithm: hashlib's name.
        options: how it is read.

    Raises:
        ThoraxError: a file cannot be read, or there is none.
    """
    present = files_of(folder, options.leave_out)
    if not present:
        raise ThoraxError(f"{folder} holds no file to list")
    report = VerifyReport()
    digests = _hashed(folder, [(algorithm, name) for name in present], present, report, options)
    if bad := report.troubles.get("unreadable"):
        raise ThoraxError(f"{bad[0]} cannot be read; no list is written")
    return [Listed(name, algorithm, digests[name], path.stat().st_size) for name, path in present.items()]


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in EXTENSIONS


def _matched(listed: list[Listed], present: Mapping[str, Path], folder: Path, report: VerifyReport) -> dict[str, str]:
    """Listed path -> path below the folder: as it stands; without its first folders; or by its name alone, where the
    list has no folders."""
    exact = {one.path: one.path for one in listed if one.path in present}
    if exact:
        found = exact
    else:
        found = {}
        deepest = max(one.path.count("/") for one in listed)
        for depth in range(1, deepest + 1):
            found = {one.path: short for one in listed if (short := _without(one.path, depth)) in present}
            if found:
                first = next(iter(found))
                report.notes.append(f"listed paths begin above {folder}: {first} is {found[first]}")
                break
    if not any("/" in one.path for one in listed):
        by_name: dict[str, list[str]] = {}
        for name in present:
            by_name.setdefault(name.rpartition("/")[2], []).append(name)
        for one in listed:
            places = by_name.get(one.path, [])
            if one.path not in found and len(places) > 1 and one.digest:
                raise ThoraxError(
                    f"{one.path} is listed without a folder and lies in several: {', '.join(places[:_SHOWN])}"
                )
            if one.path not in found and places:
                found[one.path] = places[0]
    return found


def _without(path: str, depth: int) -> str:
    return "/".join(path.split("/")[depth:])


class _Known:
    """Digests of a folder's files that were computed before, by algorithm, path, size and time of change."""

    def __init__(self, folder: Path) -> None:
        env = job.environment()
        place = env.get("THORAX_CACHE") or job.cache_folder(env)
        digest = hashlib.sha256(str(folder.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self._file = Path(place) / "verify" / f"{digest}.tsv" if place else None
        self._lock = Lock()
        self._digests: dict[str, str] = {}
        self._torn = ""
        if self._file and self._file.is_file():
            text = self._file.read_text(encoding="utf-8", errors="surrogateescape")
            self._torn = "\n" if text and not text.endswith("\n") else ""
            for line in text.splitlines():
                fields = line.split("\t")
                if len(fields) == 2:  # the last line of a run that was killed may be torn
                    self._digests[fields[0]] = fields[1]

    @staticmethod
    def key(algorithm: str, name: str, path: Path) -> str:
        about = path.stat()
        return f"{algorithm} {about.st_size} {about.st_mtime_ns} {name!r}"

    def get(self, key: str) -> str | None:
        return self._digests.get(key)

    def put(self, key: str, digest: str) -> None:
        """Keeps it, where the cache can be written."""
        if self._file is None:
            return
        with self._lock:
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                with self._file.open("a", encoding="utf-8", errors="surrogateescape") as out:
                    out.write(f"{self._torn}{key}\t{digest}\n")
                    self._torn = ""
            except OSError:
                self._file = None


def _hashed(
    folder: Path,
    wanted: list[tuple[str, str]],
    present: Mapping[str, Path],
    report: VerifyReport,
    options: VerifyOptions,
) -> dict[str, str]:
    """Path -> digest of each (algorithm, path); what cannot be read is trouble."""
    known, found = _Known(folder), {}
    todo: list[tuple[str, str, str]] = []
    for algorithm, name in wanted:
        try:
            key = known.key(algorithm, name, present[name])
        except OSError:
            report.add("unreadable", [name])
            continue
        if not options.anew and (before := known.get(key)):
            found[name] = before
            report.remembered += 1
        else:
            todo.append((algorithm, name, key))
    if not todo:
        return found
    progress = Progress(f"hashing {folder}", len(todo), unit="file", every=10.0)

    def digest(one: tuple[str, str, str]) -> tuple[str, str | None, int]:
        algorithm, name, key = one
        try:
            with present[name].open("rb") as file:
                value = hashlib.file_digest(file, algorithm).hexdigest()
                length = file.tell()
        except OSError:
            return name, None, 0
        known.put(key, value)
        return name, value, length

    try:
        for name, value, length in _in_turn(digest, todo, options.threads):
            progress.step()
            if value is None:
                report.add("unreadable", [name])
            else:
                found[name] = value
                report.hashed += 1
                report.bytes += length
    finally:
        progress.close()
    return found


def _in_turn(
    work: Callable[[tuple[str, str, str]], tuple[str, str | None, int]], items: list[tuple[str, str, str]], threads: int
) -> Iterable[tuple[str, str | None, int]]:
    """`work` of each item; Ctrl-C leaves what has not begun."""
    pool = ThreadPoolExecutor(max(threads, 1))
    try:
        step = 64 * max(threads, 1)  # of 400,000 files few wait in memory
        for start in range(0, len(items), step):
            yield from pool.map(work, items[start : start + step])
    finally:
        pool.shutdown(cancel_futures=True)
