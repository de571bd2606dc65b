"""Draws what a terminal shows as SVG: runs of equal style as text, backgrounds as rectangles, lines as lines."""

from __future__ import annotations

import html
import re
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from wcwidth import wcwidth

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyte
    from pyte.screens import Char

CELL, LINE, FONT = 8.4, 18, 14
PAD, BAR = 10, 30
COLOURS = {
    "black": "#3b4048", "red": "#e06c75", "green": "#98c379", "brown": "#e5c07b", "blue": "#61afef",
    "magenta": "#c678dd", "cyan": "#56b6c2", "white": "#d7dae0", "brightblack": "#7f848e",
}  # fmt: skip
HEX = re.compile(r"[0-9a-f]{6}")
BASELINE = 13  # pixels below the top of a cell

# Lines are drawn and not written: fonts of other proportions would leave gaps. Arms: left, right, up, down.
ARMS = {
    "─": "lr", "│": "ud", "┌": "rd", "┐": "ld", "└": "ru", "┘": "lu", "├": "rud", "┤": "lud", "┬": "lrd", "┴": "lru",
    "┼": "lrud", "╴": "l", "╶": "r", "╵": "u", "╷": "d",
    "━": "lr", "┃": "ud",
}  # fmt: skip
HEAVY = "━┃"
ARCS = {"╭": (1, 1), "╮": (-1, 1), "╰": (1, -1), "╯": (-1, -1)}
# Parts of a block: x, y, width, height in eighths of a cell.
BLOCKS = {
    "█": (0, 0, 8, 8), "▀": (0, 0, 8, 4), "▐": (4, 0, 4, 8), "▔": (0, 0, 8, 1), "▕": (7, 0, 1, 8),
    **{char: (0, 7 - n, 8, n + 1) for n, char in enumerate("▁▂▃▄▅▆▇")},
    **{char: (0, 0, 7 - n, 8) for n, char in enumerate("▉▊▋▌▍▎▏")},
}  # fmt: skip


class Theme(NamedTuple):
    """Colours of what the program leaves to the terminal, and of the window around it."""

    background: str = "#16181d"
    foreground: str = "#d7dae0"
    frame: str = "#23272f"
    title: str = "#8b919c"


DARK = Theme()
LIGHT = Theme("#fbf8f2", "#26303b", "#dcd6c9", "#6f6a5d")


class Look(NamedTuple):
    """How a cell looks, apart from what is in it."""

    ink: str
    ground: str
    bold: bool
    italic: bool
    underline: bool


class Run(NamedTuple):
    """Text of one look, in cells."""

    row: int
    column: int
    width: int
    text: str
    look: Look


def _colour(name: str, default: str) -> str:
    if name == "default":
        return default
    return COLOURS.get(name) or (f"#{name}" if HEX.fullmatch(name) else default)


def _look(cell: Char, theme: Theme) -> Look:
    ink, ground = _colour(cell.fg, theme.foreground), _colour(cell.bg, theme.background)
    if cell.reverse:
        ink, ground = ground, ink
    return Look(ink, ground, cell.bold, cell.italics, cell.underscore)


def _cells(screen: pyte.Screen, theme: Theme) -> list[list[tuple[str, Look]]]:
    return [
        [
            (screen.buffer[row][column].data, _look(screen.buffer[row][column], theme))
            for column in range(screen.columns)
        ]
        for row in range(screen.lines)
    ]


def variety(screen: pyte.Screen) -> int:
    """How many runs of equal style there are: one with a visible cursor has more than one without."""
    rows = _cells(screen, DARK)
    return sum(a[1] != b[1] for row in rows for a, b in pairwise(row))


def svg(screen: pyte.Screen, title: str, theme: Theme = DARK) -> str:
    """The screen in a window with a title, as an SVG picture."""
    rows = _cells(screen, theme)
    ground = Counter(look.ground for row in rows for _, look in row).most_common(1)[0][0]
    width, height = screen.columns * CELL, screen.lines * LINE
    left, top = PAD, BAR
    classes: dict[str, str] = {}
    body = [
        f'<rect width="{width:g}" height="{height}" fill="{ground}"/>',
        '<g shape-rendering="crispEdges">',
        *_grounds(rows, ground),
        "</g>",
        *_strokes(rows),
        *(_text(run, classes) for run in _runs(rows)),
    ]
    styles = "".join(f".{name}{{{style}}}" for style, name in classes.items())
    full, total = width + 2 * PAD, height + BAR + PAD
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {full:g} {total}" font-size="{FONT}" '
            'font-family="ui-monospace, SFMono-Regular, Menlo, DejaVu Sans Mono, monospace">',
            f"<style>text{{white-space:pre}}{styles}</style>",
            f'<rect width="{full:g}" height="{total}" rx="9" fill="{theme.frame}"/>',
            f'<text x="{full / 2:g}" y="20" font-size="12.5" fill="{theme.title}" text-anchor="middle">'
            f"{html.escape(title)}</text>",
            f'<g transform="translate({left} {top})" xml:space="preserve">',
            *body,
            "</g>",
            "</svg>",
            "",
        ]
    )


def _grounds(rows: list[list[tuple[str, Look]]], common: str) -> Iterator[str]:
    """Rectangles for backgrounds other than the common one; equal ones below each other are one."""
    growing: dict[tuple[int, int, str], int] = {}
    for row in range(len(rows) + 1):
        here = set(_spans(rows[row], common)) if row < len(rows) else set()
        for span in [span for span in growing if span not in here]:
            start, end, colour = span
            first = growing.pop(span)
            yield (
                f'<rect x="{start * CELL:g}" y="{first * LINE}" width="{(end - start) * CELL:g}" '
                f'height="{(row - first) * LINE}" fill="{colour}"/>'
            )
        for span in here:
            growing.setdefault(span, row)


def _spans(row: list[tuple[str, Look]], common: str) -> Iterator[tuple[int, int, str]]:
    column = 0
    while column < len(row):
        start, ground = column, row[column][1].ground
        while column < len(row) and row[column][1].ground == ground:
            column += 1
        if ground != common:
            yield start, column, ground


def _strokes(rows: list[list[tuple[str, Look]]]) -> Iterator[str]:
    """Lines and blocks: one path for each colour and weight."""
    thin: dict[str, list[str]] = {}
    thick: dict[str, list[str]] = {}
    filled: dict[str, list[str]] = {}
    for at, row in enumerate(rows):
        column = 0
        while column < len(row):
            char, look = row[column]
            start = column
            column += 1
            while char in ("─", "━") and column < len(row) and row[column] == (char, look):
                column += 1
            x, y = start * CELL, at * LINE
            if char in ARMS:
                paths = (thick if char in HEAVY else thin).setdefault(look.ink, [])
                paths += _arms(ARMS[char], x, y, (column - start) * CELL)
            elif char in ARCS:
                across, down = ARCS[char]
                paths = thin.setdefault(look.ink, [])
                middle_x, middle_y, bend = x + CELL / 2, y + LINE / 2, CELL / 2
                edge_x, edge_y = x + CELL * (across > 0), y + LINE * (down > 0)
                paths.append(
                    f"M{middle_x:g} {edge_y:g}V{middle_y + down * bend:g}"
                    f"Q{middle_x:g} {middle_y:g} {edge_x:g} {middle_y:g}"
                )
            elif char in BLOCKS:
                dx, dy, wide, high = BLOCKS[char]
                filled.setdefault(look.ink, []).append(
                    f"M{x + dx * CELL / 8:g} {y + dy * LINE / 8:g}h{wide * CELL / 8:g}v{high * LINE / 8:g}"
                    f"h{-wide * CELL / 8:g}z"
                )
    for width, lines in ((1.2, thin), (2.6, thick)):
        for colour, paths in lines.items():
            yield f'<path fill="none" stroke="{colour}" stroke-width="{width}" d="{"".join(paths)}"/>'
    for colour, paths in filled.items():
        yield f'<path fill="{colour}" shape-rendering="crispEdges" d="{"".join(paths)}"/>'


def _arms(arms: str, x: float, y: float, width: float) -> Iterator[str]:
    middle_x, middle_y = x + width / 2, y + LINE / 2
    if "l" in arms or "r" in arms:
        start, end = x if "l" in arms else middle_x, x + width if "r" in arms else middle_x
        yield f"M{start:g} {middle_y:g}H{end:g}"
    if "u" in arms or "d" in arms:
        start, end = y if "u" in arms else middle_y, y + LINE if "d" in arms else middle_y
        yield f"M{middle_x:g} {start:g}V{end:g}"


def _runs(rows: list[list[tuple[str, Look]]]) -> Iterator[Run]:
    """Text of one look; words far from each other and characters of two cells stand for themselves."""
    for at, row in enumerate(rows):
        column = 0
        while column < len(row):
            start, (char, look), text = column, row[column], ""
            wide = _wide(char)
            while column < len(row):
                char, here = row[column]
                drawn = char in ARMS or char in ARCS or char in BLOCKS
                if (here._replace(ground=""), _wide(char)) != (look._replace(ground=""), wide) or drawn:
                    break
                if not look.underline and text.endswith("  ") and char != " ":
                    break
                text += char
                column += 2 if wide else 1
            if text.strip() or (text and look.underline):
                lead = 0 if look.underline else len(text) - len(text.lstrip(" "))
                shown = text if look.underline else text.strip(" ")
                cells = len(shown) if not wide else column - start
                yield Run(at, start + lead, cells, shown, look)
            column = max(column, start + 1)


def _wide(char: str) -> bool:
    return bool(char) and wcwidth(char[0]) == 2


def _text(run: Run, classes: dict[str, str]) -> str:
    look = run.look
    style = f"fill:{look.ink}"
    style += ";font-weight:bold" * look.bold + ";font-style:italic" * look.italic
    style += ";text-decoration:underline" * look.underline
    name = classes.setdefault(style, f"s{len(classes)}")
    length = f' textLength="{run.width * CELL:g}"' if run.width > 1 else ""
    return (
        f'<text class="{name}" x="{run.column * CELL:g}" y="{run.row * LINE + BASELINE}"{length}>'
        f"{html.escape(run.text, quote=False)}</text>"
    )
