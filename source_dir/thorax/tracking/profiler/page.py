"""The profiler's page: the shares of a step as a picture, the advice, the operators; HTML that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from statistics import fmean

from thorax.config import TrainingConfig
from thorax.tracking.profiler.summary import MEANING, Timing

_STYLE = """
:root { --ground: #fff; --ink: #1d2730; --soft: #5a6672; --bar: #1f5f99; --most: #d1662a; --wash: #f4f7f9 }
@media screen and (prefers-color-scheme: dark) {
  :root { --ground: #12181d; --ink: #e4eaef; --soft: #a3b0bb; --bar: #6fb0e6; --most: #f0924f; --wash: #1b242c }
}
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 60rem; padding: 2rem 1rem; background: var(--ground); color: var(--ink);
       font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif }
h1 { font-size: 1.6rem; margin: 0 0 .4rem }
h2 { font-size: 1.15rem; margin: 2rem 0 .6rem }
p { margin: 0 0 .7rem; overflow-wrap: anywhere }
.stage { display: grid; grid-template-columns: 7rem 1fr 9rem; gap: .2rem .8rem; align-items: center; margin: .35rem 0 }
.stage b { font-weight: 600 }
.stage small { grid-column: 2 / -1; color: var(--soft); margin-top: -.2rem }
.bar { height: 1.1rem; background: var(--wash); border-radius: 3px }
.bar i { display: block; height: 100%; min-width: 1px; border-radius: 3px; background: var(--bar) }
.most .bar i { background: var(--most) }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
.soft { color: var(--soft) }
pre { overflow-x: auto; padding: .8rem; background: var(--wash); border-radius: 6px; font-size: 12px }
@media (max-width: 600px) {
  .stage { grid-template-columns: max-content minmax(2rem, 1fr) max-content; gap: .2rem .5rem }
}
"""


def profile_page(timing: Timing | None, config: TrainingConfig, operators: str, waits: Sequence[float]) -> str:
    """The page; arguments as for `summary.summary_page`."""
    parts = ["<h1>Where a step's time goes</h1>"]
    if timing is None:
        parts.append("<p>Too few steps were made to time them; lower profiler_schedule.</p>")
    else:
        sentence = timing.sentence[0].upper() + timing.sentence[1:]
        parts += [f"<p><b>{escape(sentence)}.</b></p>", f"<p>Advice: {escape(timing.advice(config))}.</p>"]
        longest = max(timing.shares.values())
        for stage, share in timing.shares.items():
            most = " most" if stage == timing.bottleneck else ""
            ms = timing.seconds_with_other[stage] / timing.steps * 1000
            width = f"width: {100 * share / longest:.1f}%"
            parts.append(
                f'<div class="stage{most}"><b>{stage}</b><div class="bar"><i style="{width}"></i></div>'
                f'<span class="number">{ms:.1f} ms &middot; {100 * share:.1f} %</span>'
                f"<small>{escape(MEANING.get(stage, ''))}</small></div>"
            )
        waited = ", synchronised with the device after each stage" if timing.device == "cuda" else ""
        parts.append(f'<p class="soft">Means of {timing.steps} steps, without torch.profiler{waited}.</p>')
    if waits:
        parts.append(f"<p>Whole epochs waited for images {100 * fmean(waits):.1f} % of their time.</p>")
    if operators:
        parts += [
            "<h2>Operators of the traced steps</h2>",
            '<p class="soft">All of them, on a time line: open steps.pt.trace.json.gz in ui.perfetto.dev.</p>',
            f"<pre>{escape(operators.strip(chr(10)))}</pre>",
        ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Profile of a training run</title>'
        f"<style>{_STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )
