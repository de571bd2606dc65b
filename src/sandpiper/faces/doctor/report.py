"""Writes findings down: for people one mark and line each, for scripts one JSON object a line."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sandpiper.faces.doctor.findings import Finding

_MARKS = {"ok": "✓", "warn": "!", "fail": "✗"}
_PLAIN = {"ok": "ok", "warn": "!!", "fail": "XX"}  # where those cannot be shown
_CHECK_WIDTH = 10
_LEAST_WIDTH = 40


def text_lines(findings: Sequence[Finding], *, encoding: str, columns: int) -> Iterator[str]:
    """The report for people. The mark alone tells the status; there are no colours."""
    marks = _MARKS if _can_show("".join(_MARKS.values()), encoding) else _PLAIN
    width = max(columns, _LEAST_WIDTH)
    for finding in findings:
        mark = marks[finding.status]
        head = f"{mark} {finding.check:<{_CHECK_WIDTH}} "
        yield from _wrapped(finding.seen, head, " " * len(head), width)
        indent = " " * (len(mark) + 3)
        for detail in finding.details:
            yield indent + detail
        if finding.why:
            yield from _wrapped(finding.why, indent + "why  ", indent + "     ", width)
        for number, step in enumerate(finding.fix):
            yield f"{indent}{'fix  ' if number == 0 else '     '}{step}"  # never wrapped: it is there to be copied
    yield ""
    yield _sum(findings)


def _sum(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.status for finding in findings)
    if len(findings) == counts["ok"]:
        return "All is well."
    parts = [f"{counts['fail']} failed"] if counts["fail"] else []
    parts += [f"{counts['warn']} {'warning' if counts['warn'] == 1 else 'warnings'}"] if counts["warn"] else []
    return f"{', '.join(parts)}, {counts['ok']} well."


def json_lines(findings: Iterable[Finding], code: int, seconds: float) -> Iterator[str]:
    """`--json`: every finding, then a summary with the exit code."""
    counts = Counter[str]()
    for finding in findings:
        counts[finding.status] += 1
        yield _line({"v": 1, "event": "finding", **msgspec.structs.asdict(finding)})
    numbers = {status: counts[status] for status in _MARKS}
    yield _line({"v": 1, "event": "summary", **numbers, "exit": code, "seconds": round(seconds, 3)})


def _line(event: dict[str, object]) -> str:
    return json.dumps(event, separators=(",", ":"))  # in ASCII, so that it is JSON on every terminal


def _wrapped(text: str, first: str, rest: str, width: int) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def _can_show(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeError, LookupError):
        return False
    return True
