"""What the style words of `sandpiper.faces.spans` look like in a theme, and the theme as Textual wants it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from rich.style import Style
from textual.theme import Theme

from sandpiper.faces.colours import PALETTE
from sandpiper.faces.emojis import shown
from sandpiper.faces.tui.palettes import DARK, PALETTES

if TYPE_CHECKING:
    from textual.app import App

    from sandpiper.faces.emojis import How
    from sandpiper.faces.tui.palettes import Palette


class Looks:
    """What style words look like in a theme. Words of a style are separated by spaces; unknown ones raise KeyError."""

    def __init__(self, palette: Palette, emoji: How = "safe") -> None:
        """`emoji`: how they are drawn, as `emojis.shown` takes it."""
        self.palette = palette
        self.emoji = emoji
        self._known: dict[str, Style] = {"": Style(color=palette.text)}

    def drawn(self, text: str) -> str:
        """A text with its emoji as they are to be drawn."""
        return shown(text, self.emoji)

    def style(self, words: str) -> Style:
        """The style of these words, for example "dim", "bold nick 3", "colour 33" (see `spans`)."""
        known = self._known.get(words)
        if known is None:
            known = self._known[words] = self._combined(words)
        return known

    def _combined(self, words: str) -> Style:
        style, parts = self._known[""], iter(words.split())
        for word in parts:
            if word == "nick":
                style += Style(color=self.palette.nicks[int(next(parts)) % len(self.palette.nicks)])
            elif word == "colour":
                style += Style(color=self.palette.nicks[PALETTE.index(int(next(parts)))])
            elif word == "tag":  # a nick's colour as background: who mentions us
                colour = self.palette.nicks[int(next(parts)) % len(self.palette.nicks)]
                style += Style(color=self.palette.background, bgcolor=colour, bold=True)
            else:
                style += self._words[word]
        return style

    @cached_property
    def _words(self) -> dict[str, Style]:
        p = self.palette
        return {
            "base": Style(color=p.text, bgcolor=p.background),
            "selection": Style(color=p.background, bgcolor=p.link),
            "bold": Style(bold=True),
            "italic": Style(italic=True),
            "underline": Style(underline=True),
            "dim": Style(color=p.dim),
            "faint": Style(color=p.faint),
            "rule": Style(color=p.rule),
            "accent": Style(color=p.accent),
            "link": Style(color=p.link, underline=True),
            "teal": Style(color=p.link),
            "code": Style(color=p.link, bgcolor=p.chip),
            "chip": Style(color=p.text, bgcolor=p.chip),
            "count": Style(color=p.accent, bgcolor=p.chip, bold=True),
            "pill": Style(color=p.background, bgcolor=p.alert, bold=True),
            "quote": Style(color=p.dim, italic=True),
            "mention": Style(color=p.accent, bold=True),
            "good": Style(color=p.good),
            "warn": Style(color=p.warn),
            "alert": Style(color=p.alert, bold=True),
            "error": Style(color=p.error, bold=True),
            "lan": Style(color=p.good),
            "direct": Style(color=p.direct),
            "relay": Style(color=p.relay),
            "selected": Style(color=p.text, bgcolor=p.selected),
            "marked": Style(color=p.text, bgcolor=p.marked),
            "bar": Style(bgcolor=p.bar),
            "qr": Style(color="#000000", bgcolor="#ffffff"),  # cameras want it so in every theme
        }


def looks_of(app: App[object]) -> Looks:
    """The looks of an app: those it has, or those of its theme."""
    looks = getattr(app, "looks", None)
    if isinstance(looks, Looks):
        return looks
    return Looks(next((palette for palette in PALETTES.values() if palette.name == app.theme), DARK))


def textual_theme(palette: Palette) -> Theme:
    """The theme as Textual's CSS sees it: `$background`, `$panel`, `$primary`; ours are `$bar`, `$chip`, `$dim`."""
    return Theme(
        name=palette.name,
        primary=palette.accent,
        secondary=palette.link,
        accent=palette.accent,
        foreground=palette.text,
        background=palette.background,
        surface=palette.background,
        panel=palette.panel,
        success=palette.good,
        warning=palette.warn,
        error=palette.error,
        dark=palette.dark,
        variables={
            "bar": palette.bar,
            "chip": palette.chip,
            "dim": palette.dim,
            "faint": palette.faint,
            "rule": palette.rule,
            "link": palette.link,
            "good": palette.good,
            "alert": palette.alert,
            "chosen": palette.selected,
            "block-cursor-background": palette.accent,
            "block-cursor-foreground": palette.background,
            "input-cursor-background": palette.accent,
            "input-cursor-foreground": palette.background,
            "input-selection-background": palette.selected,
            "scrollbar": palette.rule,
            "scrollbar-hover": palette.faint,
            "scrollbar-active": palette.accent,
            "scrollbar-background": palette.background,
            "scrollbar-background-hover": palette.background,
            "scrollbar-background-active": palette.background,
            "scrollbar-corner-color": palette.background,
        },
    )
