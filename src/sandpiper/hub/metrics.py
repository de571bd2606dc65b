"""The hub's metrics, in Prometheus' text format 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/ says how it looks.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from msgspec import Struct

from sandpiper import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sandpiper.hub.counts import Tally
    from sandpiper.hub.history import History
    from sandpiper.hub.listener import Listener

Kind = Literal["counter", "gauge"]
_PREFIX = "sandpiper_hub_"


@runtime_checkable
class Watched(Protocol):
    """A history that tells how it fares."""

    @property
    def waiting(self) -> int:
        """Bytes that are not on disk yet."""
        ...

    @property
    def lost(self) -> int:
        """Lines that could not be kept."""
        ...


class Family(Struct, frozen=True):
    """One metric: its samples have the same labels with different values."""

    name: str
    kind: Kind
    help: str
    samples: tuple[tuple[dict[str, str], float], ...]


def render(families: Iterable[Family]) -> str:
    """The text of the page."""
    lines: list[str] = []
    for family in families:
        lines += (f"# HELP {family.name} {_escaped(family.help)}", f"# TYPE {family.name} {family.kind}")
        for labels, value in family.samples:
            inside = ",".join(f'{name}="{_escaped(text, quoted=True)}"' for name, text in labels.items())
            lines.append(f"{family.name}{{{inside}}} {_number(value)}" if inside else f"{family.name} {_number(value)}")
    return "\n".join(lines) + "\n"


def _escaped(text: str, *, quoted: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quoted else text


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def gather(listener: Listener, history: History, started: float, now: float) -> Iterator[Family]:
    """All metrics at this moment. `started` and `now` in seconds of the same clock."""
    counts, chat = listener.counts, listener.chat
    house = chat.house
    yield _one("info", "gauge", "Always 1; the version is in a label.", 1, version=__version__)
    yield _one("uptime_seconds", "gauge", "Since the start.", round(now - started, 3))
    yield _one("connections", "gauge", "Connections of the chat.", len(chat.connections))
    yield _one("undecided_connections", "gauge", "Connections that are not guests: TLS and HTTP, too.", len(listener))
    yield _one("guests", "gauge", "Guests: connections of the chat that were not refused.", len(house.guests))
    yield _one("guests_max", "gauge", "Guests that are let in at most.", house.settings.connections)
    yield _one("rooms", "gauge", "Rooms that are known.", len(house.rooms) + len(house.shelf))
    yield _one(
        "occupied_rooms",
        "gauge",
        "Rooms with somebody in them.",
        sum(bool(one.members) for one in house.rooms.values()),
    )
    yield _by("joins_total", "Connections by what they spoke.", "spoke", counts.joins)
    yield _by("turned_away_total", "Connections that ended before they were guests.", "why", counts.turned_away)
    yield _by("pages_total", "Answers over HTTP.", "status", counts.pages)
    yield _one("messages_total", "counter", "Messages, edits, reactions and the like that were taken.", counts.messages)
    yield _one("message_bytes_total", "counter", "Their bytes as sent, once each.", counts.message_bytes)
    yield _one("batches_total", "counter", "Batches that they were sent in.", counts.batches)
    yield _one("deliveries_total", "counter", "Messages written to guests, for each of them.", counts.deliveries)
    yield _one("written_bytes_total", "counter", "Bytes that were written to guests.", counts.bytes_written)
    yield _one("read_bytes_total", "counter", "Bytes that guests have sent.", counts.bytes_read)
    yield _by("cuts_total", "Guests whose connection the hub has closed.", "why", counts.cuts)
    yield _by("errors_total", "Errors that guests were told.", "code", counts.errors)
    yield _one("strikes_total", "counter", "Lines that no program sends by a slip of its user.", counts.strikes)
    yield _one("wrong_passwords_total", "counter", "Wrong passwords of the hub.", counts.wrong_passwords)
    yield _one("reloads_total", "counter", "Times that the settings were read again.", counts.reloads)
    yield _one("history_behind", "gauge", "1 while guests are read slower because the disk is.", history.behind)
    yield _one("held_bytes", "gauge", "Bytes that guests are told once they are on disk.", chat.held)
    yield _one("history_failing", "gauge", "1 while the history cannot be written.", history.problem is not None)
    if isinstance(history, Watched):
        yield _one("history_waiting_bytes", "gauge", "Bytes that are not on disk yet.", history.waiting)
        yield _one("history_lost_total", "counter", "Lines that could not be kept.", history.lost)
    yield _one("loop_lag_seconds", "gauge", "How late the event loop last came round.", counts.lag)
    yield _one("loop_lag_worst_seconds", "gauge", "The latest in the last minute.", counts.worst_lag)
    if listener.introductions is not None:
        yield from listener.introductions.families()
    yield from process(started, now)


def process(started: float, now: float) -> Iterator[Family]:
    """What every program tells under the names of https://prometheus.io/docs/instrumenting/writing_clientlibs/ ."""
    spent = time.process_time()
    yield _plain("process_cpu_seconds_total", "counter", "CPU time, user and system.", round(spent, 3))
    began = time.time() - (now - started)
    yield _plain("process_start_time_seconds", "gauge", "Start, in seconds since 1970.", round(began, 3))
    memory = resident_bytes()
    if memory:
        yield _plain("process_resident_memory_bytes", "gauge", "Memory.", memory)
    files = open_files()
    if files:
        yield _plain("process_open_fds", "gauge", "Open files and sockets.", files)
    limit = file_limit()
    if limit:
        yield _plain("process_max_fds", "gauge", "Files and sockets that may be open.", limit)


def resident_bytes() -> int:
    """Memory of this process in RAM; where the system tells only its peak, that; 0: unknown."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def open_files() -> int:
    """Open files and sockets; 0: unknown."""
    try:
        return len(os.listdir("/proc/self/fd")) - 1  # the listing itself is one
    except OSError:
        return 0


def file_limit() -> int:
    """How many may be open; 0: unknown or no limit."""
    try:
        import resource
    except ImportError:
        return 0
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 0 if limit == resource.RLIM_INFINITY else limit


def _one(name: str, kind: Kind, about: str, value: float, **labels: str) -> Family:
    return Family(_PREFIX + name, kind, about, ((labels, value),))


def _plain(name: str, kind: Kind, about: str, value: float) -> Family:
    return Family(name, kind, about, (({}, value),))


def _by(name: str, about: str, label: str, tally: Tally) -> Family:
    samples: Sequence[tuple[dict[str, str], float]] = [({label: word}, count) for word, count in tally.items()]
    return Family(_PREFIX + name, "counter", about, tuple(samples))
