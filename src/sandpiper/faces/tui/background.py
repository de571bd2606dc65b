"""Which theme suits the terminal: what it says of its background, and what the person has set."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SIXTEEN = frozenset(map(str, range(16)))
_LIGHT = frozenset({7, *range(9, 16)})  # Vim and Emacs draw the line here too


def background_is_light(env: Mapping[str, str]) -> bool | None:
    """What the terminal says of its background in `COLORFGBG`; None when it does not say.

    rxvt, Konsole, iTerm and others set it to foreground and background as numbers of the 16 colours ("15;0"), some
    with a third word between; either may be "default".
    """
    background = env.get("COLORFGBG", "").rpartition(";")[2]
    return int(background) in _LIGHT if background in _SIXTEEN else None


def chosen_theme(setting: str, *, coloured: bool, env: Mapping[str, str]) -> str:
    """The theme for the setting `theme`: dark, light or none.

    A theme that the person names holds; auto is none where colours are not wanted, else what the background needs,
    and dark where that is not known.
    """
    if setting != "auto":
        return setting
    if not coloured:
        return "none"
    return "light" if background_is_light(env) else "dark"
