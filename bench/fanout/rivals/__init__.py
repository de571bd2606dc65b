"""Who takes part in the fan-out race: ours, real servers, and two bounds (a naive server, and one in C)."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True)
class Site:
    """Where a server is to run: a fresh folder for its configuration, its port, the folder of what `cc` made."""

    folder: Path
    port: int
    built: Path


@dataclass(frozen=True)
class Rival:
    """A server under load. `speech` names its row in `speak.h`; `command` writes its configuration to the folder.

    `missing` gives a sentence where this machine cannot run it, otherwise None.
    """

    name: str
    speech: str
    command: Callable[[Site], list[str]]
    missing: Callable[[], str | None]
    ours: bool = False
    usual: bool = False  # of ours, what everybody gets
    real: bool = False
    bound: bool = False  # what no server can pass
    presence: bool = False  # it tells those in the room who came
    at_once: int = 64  # guests that come in at the same time: what suits the server best


def program(name: str) -> str | None:
    """The path of a server's program; system folders count even where PATH leaves them out."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")


def needs(name: str, source: str) -> Callable[[], str | None]:
    """A `missing` that says where to get the program."""
    return lambda: None if program(name) else f"{name} is not installed ({source})"


def everyone() -> list[Rival]:
    """All of them, in the order of the tables."""
    from bench.fanout.rivals import hub, inspircd, naive, nats, ngircd, redis, reference

    return [
        hub.UVLOOP,
        hub.ASYNCIO,
        nats.RIVAL,
        redis.RIVAL,
        inspircd.RIVAL,
        ngircd.RIVAL,
        naive.RIVAL,
        reference.RIVAL,
    ]
