"""The frame that is painted first stands where the screen draws it again, on any terminal."""

import pyte
import pytest

from sandpiper.faces.tui.chat import MIN_SIDEBAR_ROWS as CHAT_ROWS
from sandpiper.faces.tui.curtain import MIN_SIDEBAR_ROWS, NARROW, SIDEBAR, frame
from sandpiper.faces.tui.palettes import PALETTES
from sandpiper.faces.tui.sidebar import WIDTH
from sandpiper.faces.tui.wording import NARROW as CHAT_NARROW


def painted(columns: int, rows: int) -> list[str]:
    screen = pyte.Screen(columns, rows)
    pyte.Stream(screen).feed(frame(PALETTES["dark"], columns, rows))
    return list(screen.display)


def test_the_frame_knows_the_measures_of_the_screen():
    assert (NARROW, MIN_SIDEBAR_ROWS, SIDEBAR) == (CHAT_NARROW, CHAT_ROWS, WIDTH)


def test_the_frame_has_the_name_and_the_composer_where_the_screen_has_them():
    lines = painted(120, 34)
    assert lines[1].startswith("  ≈ sandpiper ")
    assert [line[32] for line in lines[-4:-1]] == ["╭", "│", "╰"]
    assert all(line.rstrip()[-1] in "╮│╯" for line in lines[-4:-1])
    assert [line[0] for line in painted(60, 20)[-4:-1]] == ["╭", "│", "╰"]


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 6), (20, 5), (83, 11), (84, 12), (300, 100)])
def test_the_frame_fits_any_terminal(size):
    lines = painted(*size)
    assert (len(lines[0]), len(lines)) == size


def test_the_frame_is_in_the_colours_of_the_theme():
    for palette in PALETTES.values():
        red, green, blue = (int(palette.panel[i : i + 2], 16) for i in (1, 3, 5))
        assert f"48;2;{red};{green};{blue}m" in frame(palette, 120, 34)
