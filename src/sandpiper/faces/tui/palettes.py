"""The colours of the three themes: dark, light, and none but greys. Loads nothing: the first paint needs them."""

from __future__ import annotations

from typing import NamedTuple


class Palette(NamedTuple):
    """The colours of a theme by their jobs; `nicks` in step with `sandpiper.faces.colours.PALETTE`."""

    name: str
    dark: bool
    background: str
    panel: str  # the sidebar
    bar: str  # the status line
    chip: str  # reactions, code, pills
    selected: str
    marked: str  # behind a message that mentions us
    text: str
    dim: str
    faint: str  # what is not there now: offline peers, unread-less rooms' marks
    rule: str
    accent: str  # the program's own: current room, composer, cursor
    link: str
    good: str
    warn: str
    alert: str  # unread mentions, the "new" rule
    error: str
    direct: str
    relay: str
    nicks: tuple[str, ...]


DARK = Palette(
    name="sandpiper-dark",
    dark=True,
    background="#0e131a",
    panel="#131a23",
    bar="#18212c",
    chip="#1a232e",
    selected="#1b2836",
    marked="#2b2419",
    text="#d7dde6",
    dim="#7b8a9d",
    faint="#4d5b6d",
    rule="#232d3a",
    accent="#e3b778",
    link="#6cb6c9",
    good="#7fc29b",
    warn="#e8c46a",
    alert="#f0876f",
    error="#ef6f6c",
    direct="#7aa5e0",
    relay="#e0a05e",
    nicks=(
        "#7aa5e0", "#e8986a", "#7fc29b", "#df8fe0", "#e3b778", "#62bfae", "#b9a2f0", "#f08fb0",
        "#b5c77d", "#6cb6c9", "#cf9bf0", "#d8b08a", "#8fa8ff", "#e08f8f", "#c9c06a", "#c3a6cf",
    ),
)  # fmt: skip

LIGHT = Palette(
    name="sandpiper-light",
    dark=False,
    background="#fbf8f2",
    panel="#f3eee4",
    bar="#e9e2d4",
    chip="#f0eadd",
    selected="#e4ecee",
    marked="#fbecc9",
    text="#26303b",
    dim="#6f6a5d",
    faint="#a39a88",
    rule="#ddd5c5",
    accent="#996412",
    link="#12708a",
    good="#2f7d4f",
    warn="#8a620a",
    alert="#c2492f",
    error="#b3261e",
    direct="#2257b8",
    relay="#a8541c",
    nicks=(
        "#2257b8", "#b3501c", "#2f7d4f", "#a3249c", "#996412", "#0f766a", "#6a45b8", "#b02a66",
        "#5d6d16", "#12708a", "#8a3a9c", "#7a4a1c", "#3a55c8", "#a8443c", "#6b6208", "#7a4a80",
    ),
)  # fmt: skip

PLAIN = Palette(
    name="sandpiper-plain",
    dark=True,
    background="#121212",
    panel="#191919",
    bar="#202020",
    chip="#222222",
    selected="#303030",
    marked="#252525",
    text="#dcdcdc",
    dim="#8a8a8a",
    faint="#5c5c5c",
    rule="#2c2c2c",
    accent="#bcbcbc",
    link="#a8a8a8",
    good="#bcbcbc",
    warn="#c5c5c5",
    alert="#9c9c9c",
    error="#dcdcdc",
    direct="#bcbcbc",
    relay="#bcbcbc",
    nicks=("#dcdcdc",) * 16,
)

PALETTES = {"dark": DARK, "light": LIGHT, "none": PLAIN}
"""By the values of the setting `theme`."""
