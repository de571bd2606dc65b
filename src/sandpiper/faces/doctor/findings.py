"""What the doctor says of one check, and what all of it means for the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable

Status = Literal["ok", "warn", "fail"]

EXIT_OK = 0  # all is well, or there are warnings only
EXIT_FAILED = 1  # something on this machine fails
EXIT_NETWORK = 3  # something fails, and all of it is the network


class Finding(Struct, frozen=True, kw_only=True):
    """One answer.

    `code` is a stable word for scripts, `seen` what was found, `details` one line each of what it was seen on, `why`
    what it means for the person, `fix` the next steps: commands for this system, or what to do by hand.
    """

    check: str
    status: Status
    code: str
    seen: str
    details: tuple[str, ...] = ()
    why: str = ""
    fix: tuple[str, ...] = ()


def exit_code(findings: Iterable[Finding], network: frozenset[str]) -> int:
    """The process's exit code; `network` names the checks whose failure is the network's."""
    failed = {finding.check for finding in findings if finding.status == "fail"}
    if not failed:
        return EXIT_OK
    return EXIT_NETWORK if failed <= network else EXIT_FAILED
