"""Looks at where the output goes."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from sandpiper.faces.doctor.facts import Terminal
from sandpiper.faces.terminal import screen_width

if TYPE_CHECKING:
    from collections.abc import Mapping


def probe_terminal(colour: str, env: Mapping[str, str]) -> Terminal:
    """`colour` is the setting: auto, always or never."""
    tty = sys.stdout.isatty()
    term = env.get("TERM", "")
    colours = "16"
    if "256" in term or os.name == "nt":
        colours = "256"
    if env.get("COLORTERM", "").lower() in ("truecolor", "24bit") or "WT_SESSION" in env:
        colours = "16 million"
    return Terminal(
        encoding=(sys.stdout.encoding or "unknown").lower(),
        tty=tty,
        columns=screen_width(),
        term=term,
        colours=colours,
        why_plain=_why_plain(colour, env, term, tty=tty),
    )


def _why_plain(colour: str, env: Mapping[str, str], term: str, *, tty: bool) -> str:
    if colour != "auto":
        return "" if colour == "always" else "setting `colour`"
    if env.get("NO_COLOR"):
        return "NO_COLOR"
    if not tty:
        return "not a terminal"
    return "TERM=dumb" if term == "dumb" else ""
