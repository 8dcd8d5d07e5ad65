"""A drawing area in CSS pixels, and what matplotlib makes of it as SVG that belongs in a page: its colours are the page's CSS
variables, so that one drawing suits light and dark, its text is text in the page's font, and its ids are its own.

Import it only where a page is written: matplotlib takes a while to load.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import shorten
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

# Colours that nobody would choose, each of which becomes the CSS variable of its name.
NAMES = ("ink", "muted", "line", "measured", "predicted", "bound", "gap", "bad", "paper")
COLOURS = {name: f"#0{number:x}fe{number:02x}" for number, name in enumerate(NAMES, 1)}
INK, MUTED, LINE, MEASURED, PREDICTED, BOUND, GAP, BAD, PAPER = COLOURS.values()
FONT_SIZE = 13
LETTER = FONT_SIZE * 0.56  # how wide one is, roughly
LONGEST_NAME = 44
STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a `$` in a name is a dollar
    "font.size": FONT_SIZE,
    "figure.dpi": 72,  # a point is a pixel
    "path.simplify": False,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 1.0,
    "xtick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.color": LINE,
    "ytick.labelcolor": INK,
    "text.color": INK,
}


@dataclass(frozen=True)
class Layout:
    """A chart is drawn for a wide and for a narrow page, so that its letters keep their size on a telephone.

    `beside`: the names of rows stand left of them; otherwise each above its own. `row`: a row's height in pixels.
    """

    name: str
    width: int
    beside: bool
    row: int

    @property
    def drop(self) -> float:
        """How far below the middle of its row a mark is, in rows."""
        return 0.0 if self.beside else 0.2

    def left(self, names: Sequence[str], least: int) -> int:
        """Pixels to leave at the left for the names of rows, or for something else that needs `least`."""
        return least + round(LETTER * max(len(short(name)) for name in names)) if self.beside else least


LAYOUTS = (Layout("wide", 900, True, 30), Layout("narrow", 340, False, 46))


class Canvas:
    """`width` and `height` in pixels; panels are placed from the top left."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self._figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        self._figure.patch.set_alpha(0)
        FigureCanvasSVG(self._figure)

    def panel(self, left: float, top: float, right: float, height: float, **options: Any) -> Axes:
        """Axes from `left` to the canvas's width less `right`, with nothing but a line below."""
        w, h = self.width, self.height
        axes = self._figure.add_axes((left / w, 1 - (top + height) / h, (w - left - right) / w, height / h), **options)
        axes.patch.set_alpha(0)
        for side in ("top", "left", "right"):
            axes.spines[side].set_visible(False)
        axes.tick_params(length=4)
        return axes

    def svg(self, name: str, label: str) -> str:
        """The drawing as SVG. `name` sets its ids apart from other drawings' in the page, `label` says what it shows."""
        out = io.StringIO()
        with mpl.rc_context({"svg.hashsalt": name}):
            self._figure.savefig(out, format="svg", metadata={"Date": None})
        return _inline(out.getvalue(), name, label, self.width, self.height)


def in_all_layouts(draw: Callable[[Layout], Canvas], name: str, label: str) -> tuple[str, ...]:
    """The drawing as SVG, in all layouts."""
    with mpl.rc_context(STYLE):  # type: ignore[arg-type]
        return tuple(draw(layout).svg(f"{name}-{layout.name}", printable(label)) for layout in LAYOUTS)


def rows(axes: Axes, layout: Layout, names: Sequence[str]) -> None:
    """Makes one row for each name, from top to bottom."""
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks([])
    for at, name in enumerate(names):
        if layout.beside:
            left = axes.get_position().x0 * layout.width
            axes.annotate(short(name), (0, at), (-left, 0), axes.get_yaxis_transform(), "offset pixels", va="center")
        else:
            axes.text(0, at - 0.26, short(name), transform=axes.get_yaxis_transform(), va="center")


def seconds_axis(axes: Axes, label: str) -> None:
    """Marks the horizontal axis in seconds."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} s"))
    axes.set_xlabel(label)


def dot(axes: Axes, x: float, y: float, *, failed: bool = False) -> None:
    """Draws a measurement; a cross for one that was not as promised."""
    if failed:
        axes.plot([x], [y], marker="x", markersize=8, markeredgewidth=2.2, color=BAD, clip_on=False)
    else:
        axes.plot([x], [y], marker="o", markersize=7, markeredgewidth=0, color=MEASURED, alpha=0.85, clip_on=False)


def short(name: str) -> str:
    """A name that fits beside its row."""
    return shorten(printable(name), LONGEST_NAME, placeholder=" …", break_on_hyphens=False)


def printable(text: str) -> str:
    """The text on one line, and without what XML may not hold."""
    return "".join(c if c.isprintable() else " " for c in text)


def _inline(svg: str, name: str, label: str, width: float, height: float) -> str:
    """The drawing without what is meant for a file of its own: names, sizes, fonts, metadata, a style for everything."""
    tree = ElementTree.fromstring(svg)  # noqa: S314 - made by matplotlib just now
    for element in tree.iter():
        for child in [c for c in element if _bare(c.tag) in ("metadata", "style") or c.get("style") == "fill: none; opacity: 0"]:
            element.remove(child)
        element.tag = _bare(element.tag)
        element.text = (element.text or "").strip() or None
        element.tail = None
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg))
    for element in tree.iter():
        attributes = {_bare(key): value for key, value in element.attrib.items() if _bare(key) != "id" or value in used}
        element.attrib.clear()
        element.attrib.update({key: _attribute(key, value, name) for key, value in attributes.items()})
        if element.get("transform", "").startswith("rotate(-0 "):
            del element.attrib["transform"]
    tree.attrib.clear()
    tree.attrib |= {"viewBox": f"0 0 {width:g} {height:g}", "role": "img", "aria-label": label}
    return ElementTree.tostring(tree, encoding="unicode")


def _attribute(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key in ("href", "clip-path"):
        return value.replace("#", f"#{name}-")
    if key == "style":
        for colour_name, colour in COLOURS.items():
            value = value.replace(colour, f"var(--{colour_name})")
        return re.sub(r"font-family: [^;]*; ?", "", value)
    value = " ".join(value.split()) if key == "d" else value
    return re.sub(r"\d+\.\d{2,}", lambda m: f"{float(m[0]):.1f}".removesuffix(".0"), value)


def _bare(name: str) -> str:
    return name.rpartition("}")[2]
