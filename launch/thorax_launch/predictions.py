"""Images to a model and its answers to the terminal, as a table, as lines of JSON, or as they come."""

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
from thorax.files import files_below, write_whole
from thorax_launch.clients import Asker, ask

#: Images on their way at a time; a server makes batches of them.
AT_ONCE = 8
#: With more labels than this the table names the most probable ones only.
COLUMNS = 4
VERBOSE = "application/json;verbose"


def predict(
    asker: Asker,
    images: Sequence[Path],
    *,
    as_json: bool = False,
    explain: Path | None = None,
    label: str = "",
    accept: str | None = None,
) -> int:
    """Asks about every image and prints what it is told, in the order of the images.

    Args:
        asker: who answers.
        images: files, and folders that are searched.
        as_json: a line per image instead of a table.
        explain: folder for heat maps.
        label: heat maps of this label alone.
        accept: print the raw answers in this form.

    Returns:
        1 where an image failed, else 0.

    Raises:
        ThoraxError: a path that does not exist, a folder without images, a folder that cannot be written, a label but
            no folder for its maps.
    """
    if label and not explain:
        raise ThoraxError(f"--label {label} says of which label --explain DIR draws heat maps; give --explain DIR too")
    named = list(found(images))
    if len(dict(named)) < len(set(named)):  # different images of one name: they go by their paths as given
        named = [(str(path), path) for _, path in named]
    if explain:
        _folder(explain)
    options = urlencode(
        {key: value for key, value in (("explain", "true" if explain else ""), ("label", label)) if value}
    )

    def one(item: tuple[str, Path]) -> bytes | ThoraxError:
        name, path = item
        try:
            return ask(asker, path.read_bytes(), name, accept or VERBOSE, options).body
        except ThoraxError as error:
            return error
        except OSError as error:
            return ThoraxError(f"it cannot be read: {error.strerror}")

    rows: list[dict[str, Any]] = []
    stems = _stems([name for name, _ in named])
    failed = 0
    with ThreadPoolExecutor(min(AT_ONCE, len(named))) as pool:
        for (name, _), got in zip(named, pool.map(one, named), strict=True):
            if isinstance(got, ThoraxError):
                failed += 1
                print(f"error: {name}: {got}", file=sys.stderr)
                if as_json:
                    print(json.dumps({"image": name, "error": str(got)}), flush=True)
            elif accept:
                sys.stdout.buffer.write(got if got.endswith(b"\n") else got + b"\n")
            else:
                told = json.loads(got)
                maps = _write_maps(told.pop("heat_maps", {}), stems[name], explain) if explain else {}
                rows.append({"image": name, **told, **maps})
                if as_json:
                    print(json.dumps(rows.pop(), ensure_ascii=False), flush=True)
    if rows:
        _table(rows)
    return 1 if failed else 0


def found(images: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """(name, path) of every image; a folder's images by their path below it."""
    from thorax.data.images import EXTENSIONS

    for path in images:
        if path.is_dir():
            below = sorted(
                p
                for name in files_below(path, ())
                if (p := path / name).suffix.lower() in EXTENSIONS and (p.is_file() or p.is_symlink())
            )
            if not below:
                raise ThoraxError(f"{path} holds no images ({', '.join(sorted(EXTENSIONS))})")
            yield from ((p.relative_to(path).as_posix(), p) for p in below)
        elif path.is_file():
            yield path.name, path
        else:
            raise ThoraxError(f"{path} does not exist")


def _folder(path: Path) -> None:
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


def _write_maps(maps: dict[str, str], stem: str, folder: Path) -> dict[str, dict[str, str]]:
    """Writes each heat map and says where: {"heat_maps": {label: path}}."""
    written = {}
    for label, text in maps.items():
        file = folder / f"{stem}.{label}.png".replace(os.sep, "__")
        write_whole(base64.b64decode(text), file, "heat map")
        written[label] = str(file)
    return {"heat_maps": written}


def _table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    labels: list[str] = rows[0]["labels"]
    cells: Callable[[dict[str, Any]], list[str]] = _each if len(labels) <= COLUMNS else _highest
    cuts = rows[0]["thresholds"]  # none for three or more exclusive classes
    heads = (
        [f"{label} (cut {cuts[label]:.3f})" if label in cuts else label for label in labels]
        if len(labels) <= COLUMNS
        else ["most probable"]
    )
    table = Table("image", "predicted", *map(escape, heads))
    for extra in ("warnings", "heat_maps"):
        if any(row.get(extra) for row in rows):
            table.add_column(extra.replace("_", " "))
    for row in rows:
        predicted = row["predicted"] if isinstance(row["predicted"], str) else ", ".join(row["predicted"]) or "-"
        notes = ["; ".join(row.get("warnings", []))] if any(r.get("warnings") for r in rows) else []
        maps = ["\n".join(row.get("heat_maps", {}).values())] if any(r.get("heat_maps") for r in rows) else []
        table.add_row(escape(row["image"]), escape(predicted), *cells(row), *map(escape, notes), *map(escape, maps))
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def _shown(p: float, decision: bool) -> str:
    return f"[bold]{p:.3f}[/bold]" if decision else f"{p:.3f}"


def _each(row: dict[str, Any]) -> list[str]:
    return [_shown(p, d) for p, d in zip(row["probabilities"], row["decisions"], strict=True)]


def _highest(row: dict[str, Any]) -> list[str]:
    order = sorted(range(len(row["labels"])), key=lambda k: -row["probabilities"][k])[:COLUMNS]
    return [", ".join(f"{row['labels'][k]} {_shown(row['probabilities'][k], row['decisions'][k])}" for k in order)]
