"""Sends images to a model and prints its responses, as a table, as lines of JSON, or as they come."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from thorax.errors import ThoraxError
from thorax.files import write_whole
from thorax.shown import json_lines, trusted, visible, visible_lines
from thorax.tracking.progress import Progress, say
from thorax_launch.clients import CONCURRENT, VERBOSE, Client, invoke

#: Labels that have a column each; of more the table names those predicted, and so many of the rest.
COLUMNS = 4


def predict(
    client: Client,
    images: Sequence[Path],
    *,
    as_json: bool = False,
    explain: Path | None = None,
    label: str = "",
    accept: str | None = None,
    every: bool = False,
) -> int:
    """Asks about every image and prints the responses in the order of the images.

    Args:
        client: of the model.
        images: files, and folders that are searched.
        as_json: a line per image instead of a table.
        explain: folder for heat maps.
        label: heat maps of this label alone.
        accept: print the raw responses in this form.
        every: the table has the probability of every label; else of all that are predicted, and of some of the rest.

    Returns:
        1 where an image failed, else 0.

    Raises:
        ThoraxError: a path that does not exist, a folder without images, a folder that cannot be written, a label but
            no folder for its maps.
    """
    if label and not explain:
        raise ThoraxError(f"--label {label} says of which label --explain DIR draws heat maps; give --explain DIR too")
    named = list(named_images(images))
    if len(dict(named)) < len(set(named)):  # different images of one name: they go by their paths as given
        named = [(str(path), path) for _, path in named]
    if explain:
        _make_folder(explain)
    query = {"explain": "true" if explain else "", "label": label}
    options = urlencode({key: value for key, value in query.items() if value})

    def send(item: tuple[str, Path]) -> bytes | ThoraxError:
        name, path = item
        try:
            return invoke(client, path.read_bytes(), name, accept or VERBOSE, options).body
        except ThoraxError as error:
            return error
        except OSError as error:
            return ThoraxError(f"it cannot be read: {error.strerror}")

    rows: list[dict[str, Any]] = []
    stems = _stems([name for name, _ in named])
    failed = 0
    silent = as_json or bool(accept) or not sys.stdout.isatty()  # else lines of progress among the responses
    with ThreadPoolExecutor(min(CONCURRENT, len(named))) as pool:
        bodies = Progress("asking", len(named), shown=not silent).each(pool.map(send, named))
        for (name, _), body in zip(named, bodies, strict=True):
            if isinstance(body, ThoraxError):
                failed += 1
                say(f"error: {visible(name)}: {body}", error=True)
                if as_json:
                    print(json.dumps({"image": name, "error": str(body)}), flush=True)
            elif accept:
                sys.stdout.buffer.write(body if body.endswith(b"\n") else body + b"\n")
            else:
                row = {"image": name, **json.loads(body)}
                if explain:
                    row["heat_maps"] = _write_maps(row.get("heat_maps", {}), stems[name], explain)
                if as_json:
                    print(json_lines(json.dumps(row, ensure_ascii=False)), flush=True)
                else:
                    rows.append(row)
    if rows:
        _print_table(rows, every)
    return 1 if failed else 0


def named_images(images: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """(name, path) of every image; a folder's images by their path below it."""
    from thorax.data.decoders import kinds
    from thorax.scoring.folder_images import plain_images

    for path in images:
        if path.is_dir():
            names, notes = plain_images(path)
            for note in notes:
                print(f"note: {visible(str(path))}: {note}", file=sys.stderr, flush=True)
            if not names:
                raise ThoraxError(f"{path} holds no images ({kinds()})")
            yield from ((name, path / name) for name in names)
        elif path.is_file():
            yield path.name, path
        else:
            raise ThoraxError(f"{path} does not exist")


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ThoraxError(f"--explain {path} cannot be made: {error.strerror}") from None


def _stems(names: Sequence[str]) -> dict[str, str]:
    """How each image's heat maps begin: its name with __ for /, and a number where another image has that already."""
    stems: dict[str, str] = {}
    taken: set[str] = set()
    for name in dict.fromkeys(names):
        plain = name.replace(os.sep, "__")
        stems[name] = next(stem for n in count(1) if (stem := plain if n == 1 else f"{plain}-{n}") not in taken)
        taken.add(stems[name])
    return stems


def _write_maps(maps: dict[str, str], stem: str, folder: Path) -> dict[str, str]:
    """Writes each heat map; returns label -> path."""
    written = {}
    for label, text in maps.items():
        file = folder / f"{stem}.{label}.png".replace(os.sep, "__")
        write_whole(base64.b64decode(text), file, "heat map")
        written[label] = str(file)
    return written


def _print_table(rows: list[dict[str, Any]], every: bool = False) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    labels: list[str] = rows[0]["labels"]
    few = len(labels) <= COLUMNS
    cuts = rows[0]["thresholds"]  # none for three or more exclusive classes
    digits = _digits(rows, cuts)
    cells: Callable[[dict[str, Any]], list[str]] = (
        (lambda row: _every_label(row, digits)) if few else (lambda row: _the_rest(row, every, digits))
    )
    heads = [f"{label} (threshold {cuts[label]:.{digits}f})" if label in cuts else label for label in labels]
    table = Table("image", "predicted", *map(escape, heads if few else ["the rest" if every else "next"]))
    warned, mapped = (any(row.get(extra) for row in rows) for extra in ("warnings", "heat_maps"))
    if warned:
        table.add_column("warnings")
    if mapped:
        table.add_column("heat maps")
    for row in rows:
        names = [row["predicted"]] if isinstance(row["predicted"], str) else row["predicted"]
        predicted = (", ".join(map(_plain, names)) if few else _predicted(row, digits)) or "-"
        notes = ["; ".join(row.get("warnings", []))] if warned else []
        empty = row.get("empty_heat_maps", [])
        maps = [
            "\n".join(
                f"{path} (empty: no region speaks for it)" if label in empty else path
                for label, path in row.get("heat_maps", {}).items()
            )
        ] * mapped
        table.add_row(_plain(row["image"]), predicted, *cells(row), *map(_plain, notes), *map(_plain_lines, maps))
    Console(file=trusted(sys.stdout), width=None if sys.stdout.isatty() else 200).print(table)


def _plain(text: str) -> str:
    """A name in a table of rich."""
    from rich.markup import escape

    return escape(visible(text))


def _plain_lines(text: str) -> str:
    from rich.markup import escape

    return escape(visible_lines(text))


def _digits(rows: list[dict[str, Any]], cuts: dict[str, float]) -> int:
    """Digits with which every probability shows on which side of its threshold it is: 3, up to 6 where it is close."""

    def shows(digits: int) -> bool:
        return all(
            (round(p, digits) >= round(cuts[label], digits)) == decision
            for row in rows
            for label, p, decision in zip(row["labels"], row["probabilities"], row["decisions"], strict=True)
            if label in cuts
        )

    return next((digits for digits in (3, 4, 5) if shows(digits)), 6)


def _shown(p: float, decision: bool, digits: int) -> str:
    return f"[bold]{p:.{digits}f}[/bold]" if decision else f"{p:.{digits}f}"


def _every_label(row: dict[str, Any], digits: int) -> list[str]:
    return [_shown(p, d, digits) for p, d in zip(row["probabilities"], row["decisions"], strict=True)]


def _predicted(row: dict[str, Any], digits: int) -> str:
    """Every label that is predicted, with its probability, the most probable first; "" where none is."""
    return ", ".join(_named(row, k, digits) for k in _falling(row) if row["decisions"][k])


def _the_rest(row: dict[str, Any], every: bool, digits: int) -> list[str]:
    """Labels that are not predicted: the most probable ones, or all."""
    rest = [k for k in _falling(row) if not row["decisions"][k]]
    return [", ".join(_named(row, k, digits) for k in (rest if every else rest[:COLUMNS]))]


def _falling(row: dict[str, Any]) -> list[int]:
    """The places of the labels by falling probability."""
    return sorted(range(len(row["labels"])), key=lambda k: -row["probabilities"][k])


def _named(row: dict[str, Any], k: int, digits: int) -> str:
    from rich.markup import escape

    return f"{escape(row['labels'][k])} {_shown(row['probabilities'][k], row['decisions'][k], digits)}"
