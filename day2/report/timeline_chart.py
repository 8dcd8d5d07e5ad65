"""The chart of one trial: acknowledged writes above, the steps of the failover below, on one axis of time."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from day2.trials.result import Phase, Throughput, Trial

from . import wording
from .svg import (
    BAD,
    GAP,
    LETTER,
    LINE,
    MEASURED,
    MUTED,
    PAPER,
    PREDICTED,
    Canvas,
    Layout,
    dot,
    in_all_layouts,
    rows,
    seconds_axis,
)

TITLE, WRITES, BETWEEN, AXIS = 26, 130, 16, 44  # heights, in pixels
LEFT, RIGHT = 40, 26


def timeline_chart(trial: Trial, name: str) -> tuple[str, ...]:
    """The chart as SVG, in all layouts. `name` sets its ids apart from other charts' in the page."""
    steps = "; ".join(f"{p.name} {wording.seconds(p.seconds)}" for p in trial.timeline)
    label = f"Acknowledged writes over time: none for {wording.seconds(trial.outage)}. Seconds after the fault: {steps}"
    return in_all_layouts(lambda layout: _draw(layout, trial), name, label)


def window(trial: Trial) -> tuple[float, float]:
    """The span worth showing: the outage and what led out of it. What comes long after that is named at the edge."""
    ends = [p.predicted[1] for p in trial.timeline if p.predicted] + [trial.first_write or 0.0]
    last = max([*ends, *(p.seconds for p in trial.timeline if p.seconds is not None)])
    end = min(last, 2.5 * max(*ends, 2.0)) * 1.05 + 0.2
    return max(trial.throughput.start, -0.12 * end), end


def downsampled(throughput: Throughput, begin: float, end: float, points: int) -> tuple[list[float], list[float]]:
    """Where each step of the curve begins, and its writes per `width`; neighbours are averaged where they are too many."""
    first = max(int((begin - throughput.start) / throughput.width), 0)
    counts = throughput.counts[first : max(int((end - throughput.start) / throughput.width) + 2, first)]
    step = max(1, -(-len(counts) // points))
    spans = [counts[i : i + step] for i in range(0, len(counts), step)]
    return [throughput.start + (first + i * step) * throughput.width for i in range(len(spans))], [sum(s) / len(s) for s in spans]


def _draw(layout: Layout, trial: Trial) -> Canvas:
    begin, end = window(trial)
    names = [phase.name for phase in trial.timeline]
    left, below_writes, height = layout.left(names, LEFT), TITLE + WRITES + BETWEEN, layout.row * len(names)
    canvas = Canvas(layout.width, below_writes + height + AXIS)
    top, below = canvas.panel(left, TITLE, RIGHT, WRITES), canvas.panel(left, below_writes, RIGHT, height)
    for axes in (top, below):
        axes.set_xlim(begin, end)
        if trial.outage_began is not None and trial.first_write is not None:
            axes.axvspan(trial.outage_began, trial.first_write, color=GAP, alpha=0.14, linewidth=0)
        for phase in trial.timeline:
            if phase.seconds is not None and phase.seconds <= end:
                axes.axvline(phase.seconds, color=LINE, linewidth=1, zorder=0)
    pixels = (layout.width - left - RIGHT) / (end - begin)
    _writes(top, trial.throughput, begin, end, points=int((end - begin) * pixels / 1.5))
    _label_gap(top, trial, pixels)
    rows(below, layout, names)
    for at, phase in enumerate(trial.timeline):
        _phase_row(below, at + layout.drop, 0.3 if layout.beside else 0.2, phase, pixels)
    seconds_axis(below, "after the fault")
    return canvas


def _writes(axes: Axes, throughput: Throughput, begin: float, end: float, points: int) -> None:
    times, counts = downsampled(throughput, begin, end, points)
    if counts:
        axes.fill_between(times, counts, step="post", color=MEASURED, alpha=0.3, linewidth=0)
        axes.step(times, counts, where="post", color=MEASURED, linewidth=1.2)
    axes.set_ylim(0, max([*counts, 1]) * 1.1)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
    axes.tick_params(axis="x", labelbottom=False)
    axes.tick_params(axis="y", length=0, labelcolor=MUTED)
    title = f"acknowledged writes per {throughput.width * 1000:.0f} ms"
    axes.text(0, 1 + 9 / WRITES, title, transform=axes.transAxes, color=MUTED)


def _label_gap(axes: Axes, trial: Trial, pixels: float) -> None:
    """In the gap, or beside it when it is too short for the words. `pixels`: of a second."""
    if trial.outage is None or trial.outage_began is None:
        return
    text = f"no writes for {wording.seconds(trial.outage)}"
    width, (begin, end) = len(text) * LETTER / pixels, axes.get_xlim()
    after = trial.outage_began + trial.outage
    if trial.outage < width and end - after > width:
        x, side = after + 6 / pixels, "left"
    elif trial.outage < width and trial.outage_began - begin > width:
        x, side = trial.outage_began - 6 / pixels, "right"
    else:
        x, side = (max(trial.outage_began, begin) + min(after, end)) / 2, "center"
    box = None if side == "center" else {"boxstyle": "square,pad=0.2", "facecolor": PAPER, "edgecolor": "none", "alpha": 0.8}
    axes.text(x, 0.5, text, transform=axes.get_xaxis_transform(), ha=side, va="center", weight="bold", bbox=box)


def _phase_row(axes: Axes, y: float, half_height: float, phase: Phase, pixels: float) -> None:
    """When a step came, with the figure beside it, on the band in which it was predicted. `pixels`: of a second."""
    end = axes.get_xlim()[1]
    if phase.predicted:
        earliest, latest = phase.predicted
        axes.barh(y, max(latest - earliest, 3 / pixels), 2 * half_height, left=earliest, color=PREDICTED, alpha=0.3, linewidth=0)
    text = wording.seconds(phase.seconds)
    if phase.seconds is None:
        axes.text(
            phase.predicted[1] + 9 / pixels if phase.predicted else 0,
            y,
            "never",
            ha="left",
            va="center",
            color=BAD,
            weight="bold",
        )
        return
    beyond = phase.seconds > end
    x = end if beyond else phase.seconds
    to_the_left = beyond or (end - x) * pixels < len(text) * LETTER + 16
    if beyond:
        text += " →"
    else:
        dot(axes, x, y)
    away = (0 if beyond else 9) / pixels
    axes.text(x - away if to_the_left else x + away, y, text, ha="right" if to_the_left else "left", va="center")
