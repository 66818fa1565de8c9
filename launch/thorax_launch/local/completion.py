"""When a search on this machine ends before its last job: the goals that a SageMaker tuning job has too.

The rules are AWS's (API reference of TuningJobCompletionCriteria and BestObjectiveNotImproving).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from thorax_launch.ranges import Tune

#: A best value counts as better where it is better than the one before by this part of it.
BETTER = 0.01


def end_reason(search: Tune, values: Sequence[float], maximize: bool, hours: float) -> str:
    """Why a search ends now, in words; "" where it goes on.

    Args:
        search: its limits.
        values: of the objective, of the jobs that came to one, in the order in which they began.
        maximize: whether more is better.
        hours: that its jobs have taken.
    """
    best = (max if maximize else min)(values, default=None)
    if (
        search.target is not None
        and best is not None
        and (best >= search.target if maximize else best <= search.target)
    ):
        return f"the target {search.target:g} is reached ({best:.4f})"
    if search.not_improving and (idle := not_improving(values, maximize)) >= search.not_improving:
        last = "the last job" if idle == 1 else f"the last {idle} jobs"
        return f"{last} made the best not better by 1 %"
    if search.total_hours and hours >= search.total_hours:
        return f"its time is over ({search.total_hours:g} h)"
    return ""


def not_improving(values: Sequence[float], maximize: bool) -> int:
    """How many of the last jobs were not better than the best before them by 1 %."""
    best, idle = -math.inf if maximize else math.inf, 0
    for value in values:
        step = BETTER * abs(best) if math.isfinite(best) else 0.0
        better = value >= best + step if maximize else value <= best - step
        idle = 0 if better and value != best else idle + 1
        best = max(best, value) if maximize else min(best, value)
    return idle


def remaining_seconds(search: Tune, hours: float) -> float | None:
    """Seconds that its running job may still take; None: as long as it likes."""
    return max(0.0, (search.total_hours - hours) * 3600) if search.total_hours else None
