"""Charts of how long writes were out: a dot for each trial, beside what was expected at most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from matplotlib.axes import Axes

from . import wording
from .summary import FaultSummary, bounded_seconds
from .svg import BOUND, INK, PREDICTED, Canvas, Layout, dot, in_all_layouts, rows, seconds_axis


def overview(summaries: Sequence[FaultSummary], name: str) -> tuple[str, ...]:
    """Every trial of every fault on one axis, as SVG in all layouts."""
    label = "How long writes were out. " + "; ".join(f"{s.fault}: {_in_words(s)}" for s in summaries)
    names = [s.fault + " *" * s.after_healing for s in summaries]
    return in_all_layouts(lambda layout: _draw(layout, summaries, names), name, label)


def distribution(summary: FaultSummary, name: str) -> tuple[str, ...]:
    """All trials of one fault at their own scale, as SVG in all layouts."""
    return in_all_layouts(lambda layout: _draw(layout, [summary], [""]), name, f"{summary.fault}: {_in_words(summary)}")


def _in_words(summary: FaultSummary) -> str:
    measured = wording.median_and_worst(summary.bounded_seconds) if summary.bounded_seconds else "for ever"
    return f"{measured}, expected {wording.limit(summary)}"


def _draw(layout: Layout, summaries: Sequence[FaultSummary], names: Sequence[str]) -> Canvas:
    layout = layout if any(names) else replace(layout, beside=True)
    height = layout.row * len(summaries)
    canvas = Canvas(layout.width, height + 48)
    axes = canvas.panel(layout.left(names, 20 if layout.beside and any(names) else 10), 4, 24, height)
    most = max(max(s.within.maximum, s.bounded_seconds.maximum if s.bounded_seconds else 0) for s in summaries)
    axes.set_xlim(0, most * 1.06)
    rows(axes, layout, names)
    for at, summary in enumerate(summaries):
        _strip(axes, at + layout.drop, 0.34 if layout.beside else 0.24, summary)
    healing = " (* after healing)" if any(s.after_healing for s in summaries) and len(summaries) > 1 else ""
    after = " after healing" if len(summaries) == 1 and summaries[0].after_healing else ""
    seconds_axis(axes, f"without an acknowledged write{healing}{after}")
    return canvas


def _strip(axes: Axes, y: float, half_height: float, summary: FaultSummary) -> None:
    """`half_height` is that of the strip around `y`."""
    axes.barh(y, summary.within.maximum, 2 * half_height, color=PREDICTED, alpha=0.2, linewidth=0)
    for bound in {summary.within.minimum, summary.within.maximum}:
        axes.plot([bound, bound], [y - half_height, y + half_height], color=BOUND, linewidth=2.5, solid_capstyle="butt")
    if summary.bounded_seconds and summary.bounded_seconds.n > 1:
        middle = summary.bounded_seconds.median
        axes.plot([middle, middle], [y - half_height, y + half_height], color=INK, linewidth=2, solid_capstyle="butt")
    for number, trial in enumerate(summary.trials):
        seconds = bounded_seconds(trial)
        if seconds is not None:
            dot(axes, seconds, y + _jitter(number, len(summary.trials)) * half_height, failed=not trial.passed)


def _jitter(number: int, of: int) -> float:
    """Where in its strip a dot is, from -0.5 to 0.5: dots of equal length side by side, the same in every drawing."""
    return 0.0 if of == 1 else 0.5 * (2 * ((number * 5) % 7) / 6 - 1)
