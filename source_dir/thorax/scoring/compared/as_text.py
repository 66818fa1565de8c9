"""A comparison as text: for a terminal, as Markdown, as CSV."""

from __future__ import annotations

import csv
import io
import string
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from thorax.scoring.compared.comparing import RunComparison
from thorax.scoring.compared.rows import Cell, Row, Section, baseline_titles, heading, sections
from thorax.shown import cell, visible

#: Columns of a table's title that stands in its first line, at most.
TITLE = 24
#: Columns of a crosstab and of a run's name on a terminal, at most.
CROSSED, NAME = 8, 16


def terminal(comparison: RunComparison, width: int | None, metric: str) -> str:
    """The tables as plain text. Runs with long names get letters, which a list explains. Where a table is too wide,
    intervals go below their values; where that is not enough, the runs go into several tables."""
    heads = _heads(comparison)
    blocks = [_wrapped(heading(comparison), width)]
    if legend := [f"{head} is {name}" for name, head in heads.items() if head != name]:
        blocks[0] += "\n" + "\n".join(_wrapped(line, width) for line in legend)
    for section in sections(comparison, metric):
        title = section.title.replace(comparison.names[0], heads[comparison.names[0]])
        blocks += [_table(title, section, columns, heads, width) for columns in _fitting(section, heads, width)]
    blocks += list(_crosstabs(comparison, heads, width))
    if comparison.notes:
        blocks.append(
            "\n".join(
                _wrapped(note if note.startswith("warning") else f"note: {note}", width) for note in comparison.notes
            )
        )
    return "\n\n".join(blocks)


def _heads(comparison: RunComparison) -> dict[str, str]:
    """Run -> the head of its column: its name where all are short, else a letter."""
    if all(len(name) <= NAME for name in comparison.names):
        return {name: name for name in comparison.names}
    letters = [*string.ascii_uppercase, *(f"R{k}" for k in range(27, 1 + max(27, len(comparison.names))))]
    return dict(zip(comparison.names, letters, strict=False))


def _fitting(section: Section, heads: Mapping[str, str], width: int | None) -> Iterator[list[str]]:
    """The columns of each table: as many as fit, and one at least."""
    runs = [run for run in heads if any(run in row.cells for row in section.rows)]
    beside = [*baseline_titles()] if any(row.baseline for row in section.rows) else []
    shown = [*runs, *beside]
    first = _first(section)
    if width is None or _wide(section, shown, heads, spans=True) <= width:
        yield shown
        return
    taken: list[str] = []
    room = width - first
    for columns in [*([run] for run in runs), *([beside] if beside else [])]:
        needed = sum(2 + _column_width(section, column, heads, spans=False) for column in columns)
        if taken and room < needed:
            yield taken
            taken, room = [], width - first
        taken += columns
        room -= needed
    yield taken


def _cell(row: Row, column: str) -> Cell:
    return row.cells.get(column) or row.baseline.get(column) or Cell("")


def _column_width(section: Section, column: str, heads: Mapping[str, str], spans: bool) -> int:
    texts = [heads.get(column) or baseline_titles()[column]]
    for row in section.rows:
        cell = _cell(row, column)
        texts += [f"{cell.text} {cell.span}".rstrip()] if spans else [cell.text, _short(cell.span)]
    return max(map(len, texts))


def _wide(section: Section, columns: Sequence[str], heads: Mapping[str, str], spans: bool) -> int:
    return _first(section) + sum(2 + _column_width(section, column, heads, spans) for column in columns)


def _first(section: Section) -> int:
    """Columns of the rows' titles, below the table's own where that is short."""
    own = len(section.title) if len(section.title) <= TITLE else 0
    return max(own, *(len(row.title) for row in section.rows))


def _short(span: str) -> str:
    """An interval below its value: "0.750-0.790"; signed ones keep a space."""
    inside = span.strip("[]")
    return inside.replace(", ", " " if inside[:1] in ("+", "-") else "-")


def _table(title: str, section: Section, columns: Sequence[str], heads: Mapping[str, str], width: int | None) -> str:
    spans = width is None or _wide(section, columns, heads, spans=True) <= width
    lines = [[title if len(title) <= TITLE else "", *(heads.get(name) or baseline_titles()[name] for name in columns)]]
    for row in section.rows:
        cells = [_cell(row, column) for column in columns]
        if spans:
            lines.append([row.title, *(f"{cell.text} {cell.span}".rstrip() for cell in cells)])
            continue
        lines.append([row.title, *(cell.text for cell in cells)])
        if any(cell.span for cell in cells):
            lines.append(["", *(_short(cell.span) for cell in cells)])
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
    body = ["  ".join(text.ljust(w) for text, w in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*([] if len(title) <= TITLE else [_wrapped(title, width)]), *body])


def _crosstabs(comparison: RunComparison, heads: Mapping[str, str], width: int | None) -> Iterator[str]:
    """Of exclusive classes, as far as they are few: the images of each true class by what they are called."""
    classes = comparison.labels.classes
    if comparison.labels.task == "multilabel" or len(classes) > CROSSED:
        return
    for run in comparison.names:
        counts = crosstab(comparison, run)
        lines = [
            ["is \\ called", *classes],
            *([name, *map(str, row)] for name, row in zip(classes, counts, strict=True)),
        ]
        widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
        if width is not None and sum(widths) + 2 * len(classes) > width:
            lines[0][1:] = [str(k) for k in range(len(classes))]
            for k, line in enumerate(lines[1:]):
                line[0] = f"{k} {line[0]}"
            widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]
        body = [
            "  ".join(
                [line[0].ljust(widths[0]), *(text.rjust(w) for text, w in zip(line[1:], widths[1:], strict=True))]
            )
            for line in lines
        ]
        yield "\n".join([f"{heads[run]}: images by what they are (rows) and are called", *body])


def crosstab(comparison: RunComparison, run: str, label: str = "") -> list[list[int]]:
    """Images of each true class (row) by the answer: of all classes, or of one label [[tn, fp], [fn, tp]]."""
    result = comparison.scores[run]
    if not label and "matrix" in result:
        return [list(row) for row in result["matrix"]]
    c = result["labels"][label or comparison.labels.outputs[0]]["confusion"]
    return [[c["tn"], c["fp"]], [c["fn"], c["tp"]]]


def markdown(comparison: RunComparison, metric: str) -> str:
    """The tables in GitHub's Markdown."""
    blocks = [f"{_escaped(heading(comparison))}, with 95 % intervals by patient."]
    for section in sections(comparison, metric):
        beside = baseline_titles() if any(row.baseline for row in section.rows) else {}
        runs = [run for run in comparison.names if any(run in row.cells for row in section.rows)]
        heads = [section.title, *runs, *beside.values()]
        lines = ["| " + " | ".join(map(_escaped, heads)) + " |", "|---|" + "---:|" * (len(heads) - 1)]
        for row in section.rows:
            cells = [_cell(row, column) for column in (*runs, *beside)]
            texts = [row.title, *(f"{cell.text} {cell.span}".rstrip() for cell in cells)]
            shown = [f"**{_escaped(text)}**" if row.mean and text else _escaped(text) for text in texts]
            lines.append("| " + " | ".join(shown) + " |")
        blocks.append("\n".join(lines))
    if comparison.notes:
        blocks.append("\n".join(f"* {_escaped(note)}" for note in comparison.notes))
    return "\n\n".join(blocks) + "\n"


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    plain = visible(" ".join(text.split()))
    for sign in "\\`*_|<>":
        plain = plain.replace(sign, {"<": "&lt;", ">": "&gt;"}.get(sign, f"\\{sign}"))
    return plain


def csv_rows(comparison: RunComparison) -> str:
    """A row for each number of each run and baseline."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "label", "metric", "value", "low", "high"])

    def add(run: str, label: str, metric: str, entry: Any) -> None:
        value = entry if isinstance(entry, Mapping) else {"value": entry, "low": None, "high": None}
        numbers = ["" if (v := value[key]) is None else f"{v:.6f}" for key in ("value", "low", "high")]
        writer.writerow([*map(cell, (run, label, metric)), *numbers])

    for run, result in [*comparison.scores.items(), *((f"baseline: {k}", b) for k, b in comparison.baselines.items())]:
        add(run, "all", "accuracy", result["accuracy"])
        for label, entry in [*result["labels"].items(), ("mean", result["macro"])]:
            for metric, found in entry.items():
                if metric in ("confusion", "threshold"):
                    continue
                if metric in ("n", "positives", "prevalence"):
                    found = None if found is None else float(found)
                add(run, label, metric, found)
    for run, found in comparison.differences.items():
        for label, entry in [*found["labels"].items(), ("mean", found["macro"])]:
            add(
                run, label, "auc_difference", {"value": entry["difference"], "low": entry["low"], "high": entry["high"]}
            )
            add(run, label, "auc_difference_p", entry["p"])
    for source in comparison.sources:
        for name, value in source.training.items():
            if isinstance(value, int | float):
                add(source.name, "training", name, float(value))
    return text.getvalue()


def _wrapped(text: str, width: int | None) -> str:
    return text if width is None else "\n".join(textwrap.wrap(text, max(20, width), subsequent_indent="  ")) or text
