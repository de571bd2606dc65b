"""Judges where the output goes; only text that cannot be shown is worth a warning."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

from sandpiper.faces.doctor.findings import Finding

if TYPE_CHECKING:
    from sandpiper.faces.doctor.facts import Facts

CHECK = "terminal"
NARROW = 40  # columns below which lines become hard to read


def judge_terminal(facts: Facts) -> list[Finding]:
    """Encoding, size and colours."""
    terminal = facts.terminal
    try:
        utf8 = codecs.lookup(terminal.encoding).name == "utf-8"
    except LookupError:
        utf8 = False
    where = f"{terminal.columns} columns" if terminal.tty else "not a terminal"
    colours = f"{terminal.colours} colours" if not terminal.why_plain else f"no colours ({terminal.why_plain})"
    seen = f"{terminal.encoding}, {where}, {colours}."
    if not utf8:
        fix = ("export LANG=C.UTF-8",)
        if facts.system == "windows":
            fix = ("chcp 65001   (or set PYTHONUTF8=1, or use Windows Terminal)",)
        return [
            Finding(
                check=CHECK,
                status="warn",
                code="not_utf8",
                seen=seen,
                why="Letters of other languages and emoji in messages cannot be shown.",
                fix=fix,
            )
        ]
    if terminal.tty and terminal.columns < NARROW:
        return [
            Finding(
                check=CHECK,
                status="warn",
                code="narrow",
                seen=seen,
                why=f"Below {NARROW} columns lines become hard to read.",
                fix=("Make the window wider.",),
            )
        ]
    return [Finding(check=CHECK, status="ok", code="fine", seen=seen)]
