"""Write names into circles that are large enough, and list the others beside them."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
from matplotlib.patheffects import withStroke

from scim.pl._drawing import INK

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_LARGEST, _SMALLEST = 9.0, 5.5  # sizes of text, in points
KEY_WIDTH = 2.3  # right end of the axes, with the list of names, in half widths of the picture
_WIDTH, _HEIGHT = 0.58, 1.2  # of a character and of a line, in sizes of the text


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


def draw_names(ax: Axes, circles: pd.DataFrame, faces: list[Any], size: float) -> None:
    """Write the names of inner circles into them and of outer ones above them, or list them by number and letter.

    `circles` are those of :func:`scim.pl._hits_circles.lay_out`, drawn in the colours `faces`; `size` is half the
    width of the axes.
    """
    box = ax.get_window_extent()
    # Points per unit; the layout, and a colour bar, take some of the space.
    points = 0.95 * min(box.width / (1 + KEY_WIDTH), box.height / 2.4) * 72 / ax.figure.dpi / size
    outer_entries, inner_entries = [], []
    halo = [withStroke(linewidth=2, foreground="white")]
    for circle, face in zip(circles.itertuples(), faces, strict=True):
        n_hits = f"{circle.n_hits:,}"
        if circle.inner == "":
            text = circle.outer
            if _WIDTH * _LARGEST * len(text) > 2.2 * circle.radius * points:
                text = _letter(len(outer_entries))
                outer_entries.append(f"{text}  {circle.outer} ({n_hits})")
            top = circle.y + circle.radius
            style: dict[str, Any] = {"fontsize": 8, "fontweight": "bold", "path_effects": halo, "zorder": 4}
            ax.text(circle.x, top, text, ha="center", va="bottom", color=INK, **style)
            continue
        fitted = fit_text(circle.inner, circle.radius * points)
        if fitted is None:
            numbers = {entry.partition("  ")[2]: entry.partition("  ")[0] for entry in inner_entries}
            number = numbers.get(circle.inner, str(len(inner_entries) + 1))
            if circle.inner not in numbers:
                inner_entries.append(f"{number}  {circle.inner}")
            fitted = FittedText(number, min(7.0, max(4.5, 1.2 * circle.radius * points)))
        style = {"fontsize": fitted.size, "linespacing": 1.0, "zorder": 3, "color": ink_on(face)}
        ax.text(
            circle.x,
            circle.y,
            fitted.text,
            ha="center",
            va="center_baseline" if "\n" not in fitted.text else "center",
            **style,
        )
    key = [textwrap.fill(entry, 32, subsequent_indent="     ") for entry in outer_entries + inner_entries]
    ax.text(1.08 * size, 1.05 * size, "\n".join(key), va="top", fontsize=7, color=INK)


def _letter(i: int) -> str:
    return chr(ord("A") + i % 26) * (1 + i // 26)


def ink_on(color: Any) -> str:
    """Return the colour of text that can be read on this one."""
    red, green, blue = mpl.colors.to_rgb(color)
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 0.5 else "white"
