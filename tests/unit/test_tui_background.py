"""The theme that suits a terminal."""

import pytest

from sandpiper.config import table
from sandpiper.faces.tui.background import background_is_light, chosen_theme
from sandpiper.faces.tui.palettes import PALETTES


@pytest.mark.parametrize(
    ("said", "light"),
    [
        ("15;0", False),
        ("0;15", True),
        ("0;7", True),
        ("7;8", False),
        ("0;11", True),
        ("0;default;15", True),
        ("12;default;0", False),
        ("default;default", None),
        ("15;default", None),
        ("default;15", True),
        ("0", False),
        ("", None),
        (";", None),
        ("0;231", None),
        ("0;16", None),
        ("0;-1", None),
        ("0;²", None),
        ("0;" + "0" * 5000, None),
        ("0;\x1b[2J", None),
    ],
)
def test_the_last_part_is_the_background_when_it_is_one_of_the_sixteen_colours(said: str, light: bool | None):
    assert background_is_light({"COLORFGBG": said}) is light


def test_a_terminal_that_says_nothing_is_of_unknown_background():
    assert background_is_light({}) is None


DARK, LIGHT, UNKNOWN = {"COLORFGBG": "15;0"}, {"COLORFGBG": "0;15"}, dict[str, str]()


@pytest.mark.parametrize(("env", "theme"), [(DARK, "dark"), (LIGHT, "light"), (UNKNOWN, "dark")])
def test_auto_follows_the_background_and_is_dark_when_in_doubt(env: dict[str, str], theme: str):
    assert chosen_theme("auto", coloured=True, env=env) == theme


@pytest.mark.parametrize("env", [DARK, LIGHT, UNKNOWN])
def test_auto_has_no_colours_where_none_are_wanted(env: dict[str, str]):
    assert chosen_theme("auto", coloured=False, env=env) == "none"


@pytest.mark.parametrize("wanted", ["dark", "light", "none"])
@pytest.mark.parametrize("coloured", [True, False])
@pytest.mark.parametrize("env", [DARK, LIGHT])
def test_a_theme_that_is_named_holds(wanted: str, coloured: bool, env: dict[str, str]):
    assert chosen_theme(wanted, coloured=coloured, env=env) == wanted


def test_every_theme_that_can_be_set_is_there():
    assert table()["theme"].rule.allowed.split(" or ") == ["auto", *PALETTES]
