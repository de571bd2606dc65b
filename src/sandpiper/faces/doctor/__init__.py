"""`sandpiper doctor`: looks at what chatting needs, on this LAN and, where a relay is configured, beyond it; names what
is in the way, and prints how to mend it.

Probes (`probes`) gather facts, judges (`judges`) turn them into findings, `report` writes them down. Nothing is
changed, no root is needed, and nobody on the LAN sees a peer come or go. Page: docs/doctor.md.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandpiper.config import Paths, Settings

__all__ = ["run"]


def run(settings: Settings, paths: Paths, as_json: bool = False, *, wait: float | None = None) -> int:
    """Examine, write the report to stdout and progress to stderr, and return the exit code.

    0: no check fails · 1: one fails · 3: only checks of the network fail. Takes about 2 s when a peer answers, else
    about 7; `wait` listens for that many seconds in any case. Not to be called from an event loop.
    """
    from sandpiper.faces.doctor.checks import NETWORK, gather, judge
    from sandpiper.faces.doctor.findings import exit_code
    from sandpiper.faces.doctor.report import json_lines, text_lines

    start = time.monotonic()
    facts = asyncio.run(gather(settings, paths, wait, _tell))
    findings = judge(facts)
    code = exit_code(findings, NETWORK)
    if as_json:
        lines = json_lines(findings, code, time.monotonic() - start)
    else:
        lines = text_lines(findings, encoding=facts.terminal.encoding, columns=facts.terminal.columns)
    for line in lines:
        _print(line)
    sys.stdout.flush()
    return code


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _print(line: str) -> None:
    """What the terminal's encoding lacks is shown escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding))
