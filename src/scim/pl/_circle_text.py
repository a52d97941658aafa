"""Write names into circles that are large enough, and list the others beside them."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
from matplotlib.patheffects import withStroke

from scim.pl._drawing import INK, drawn

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_LARGEST, _SMALLEST = 9.0, 5.5  # sizes of text, in points
KEY_WIDTH = 2.3  # right end of the axes, with the list of names, in half widths of the picture
_WIDTH, _HEIGHT = 0.58, 1.2  # of a character and of a line, in sizes of the text


class NamedCircle(NamedTuple):
    """A circle of the picture."""

    outer: str  # value of the first column
    inner: str  # value of the second; empty: this is the outer circle
    x: float
    y: float
    radius: float
    n_hits: int
    share: float  # of the hits of the query


class FittedText(NamedTuple):
    """Text in lines, and its size in points."""

    text: str
    size: float


def fit_text(name: str, radius: float) -> FittedText | None:
    """Return the name in the lines that allow the largest text in a circle of `radius` points; `None` if too small."""
    options = []
    for n_lines in range(1, 5):
        lines = textwrap.wrap(name, max(-(-len(name) // n_lines), max(map(len, name.split()), default=1)))
        width, height = _WIDTH * max(map(len, lines), default=1), _HEIGHT * len(lines)
        options.append(FittedText("\n".join(lines), min(_LARGEST, 1.9 * radius / (width**2 + height**2) ** 0.5)))
    best = max(options, key=lambda option: option.size)
    return best if best.size >= _SMALLEST else None


def circles_of(frame: pd.DataFrame) -> list[NamedCircle]:
    """Return the rows of the frame of circles."""
    return [NamedCircle(*row) for row in frame[list(NamedCircle._fields)].to_numpy(dtype=object).tolist()]


def draw_names(ax: Axes, circles: list[NamedCircle], faces: list[Any], size: float) -> None:
    """Write the names of inner circles into them and of outer ones above them, or list them by number and letter.

    The circles were drawn in the colours `faces`; `size` is half the width of the picture.
    """
    box = ax.get_window_extent()
    # Points per unit; the layout, and a colour bar, take some of the space.
    points = 0.95 * min(box.width / (1 + KEY_WIDTH), box.height / 2.4) * 72 / ax.figure.dpi / size
    letters: dict[str, str] = {}
    numbers: dict[str, str] = {}
    for circle, face in zip(circles, faces, strict=True):
        if circle.inner:
            _write_inside(ax, circle, face, points, numbers)
        else:
            _write_above(ax, circle, points, letters)
    signs = [f"{sign}  {drawn(name)}" for name, sign in (letters | numbers).items()]
    key = [textwrap.fill(line, 32, subsequent_indent="     ") for line in signs]
    ax.text(1.08 * size, 1.05 * size, "\n".join(key), va="top", fontsize=7, color=INK, parse_math=False)


def _write_inside(ax: Axes, circle: NamedCircle, face: Any, points: float, numbers: dict[str, str]) -> None:
    """Write the name of an inner circle, or the number under which `numbers` lists it."""
    fitted = fit_text(drawn(circle.inner), circle.radius * points)
    if fitted is None:
        number = numbers.setdefault(circle.inner, str(len(numbers) + 1))
        fitted = FittedText(number, min(7.0, max(4.5, 1.2 * circle.radius * points)))
    middle: Any = "center" if "\n" in fitted.text else "center_baseline"
    style: dict[str, Any] = {"fontsize": fitted.size, "linespacing": 1.0, "zorder": 3, "color": ink_on(face)}
    style["parse_math"] = False  # a line may end within an escaped dollar
    ax.text(circle.x, circle.y, fitted.text, ha="center", va=middle, **style)


def _write_above(ax: Axes, circle: NamedCircle, points: float, letters: dict[str, str]) -> None:
    """Write the name of an outer circle, or the letter under which `letters` lists it with its number of hits."""
    text = drawn(circle.outer)
    if _WIDTH * _LARGEST * len(text) > 2.2 * circle.radius * points:
        text = letters.setdefault(f"{circle.outer} ({circle.n_hits:,})", _letter(len(letters)))
    halo = [withStroke(linewidth=2, foreground="white")]
    style: dict[str, Any] = {"fontsize": 8, "fontweight": "bold", "path_effects": halo, "zorder": 4}
    ax.text(circle.x, circle.y + circle.radius, text, ha="center", va="bottom", color=INK, **style)


def _letter(i: int) -> str:
    return chr(ord("A") + i % 26) * (1 + i // 26)


def ink_on(color: Any) -> str:
    """Return the colour of text that can be read on this one."""
    red, green, blue = mpl.colors.to_rgb(color)
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
