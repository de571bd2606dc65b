"""A house whose effects are carried out at once: guests are lists of what they got."""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING, Any, TypeVar, cast

from sandpiper.core.events import Now
from sandpiper.hub import answering
from sandpiper.hub.effects import Bar, Cut, Deliver, Keep, Lock, Own, Recall, Recollect, Remember, Search
from sandpiper.hub.history import MemoryHistory
from sandpiper.hub.house import House
from sandpiper.hub.limits import MAX_CLIENT_IDS, ChatSettings, Pace
from sandpiper.hub.operators import ANSWERERS
from sandpiper.wire.hub.lines import decode_chunk

if TYPE_CHECKING:
    from collections.abc import Coroutine

WALL = 1_735_812_345
THEN = Now(1000.0, WALL * 1000)
FAST = Pace(1e9, 1e9)
SETTINGS = ChatSettings(guest_pace=FAST, address_pace=FAST, room_pace=FAST)

Line = dict[str, Any]


T = TypeVar("T")


def at_once(asked: Coroutine[Any, Any, T]) -> T:
    """What a history in memory answers, which waits for nothing."""
    try:
        asked.send(None)
    except StopIteration as done:
        return cast("T", done.value)
    raise AssertionError("a history in memory waits for nothing")


class Visitor:
    """One guest, from outside."""

    def __init__(self, parlour: Parlour, address: str) -> None:
        self.raw: list[bytes] = []
        self.cut = ""
        self.parlour = parlour
        self.guest = parlour.house.enter(address, self, parlour.now)

    def write(self, raw: bytes) -> None:
        self.raw.append(raw)

    def send(self, *lines: Line | bytes) -> int:
        """One chunk; how many lines of it were dealt with."""
        chunk = b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
        taken = self.parlour.house.take(self.guest, decode_chunk(chunk), self.parlour.now)
        self.parlour.turn()
        return taken

    def say(self, text: str, room: str = "", **more: object) -> None:
        self.send({"type": "msg", "text": text, **({"room": room} if room else {}), **more})

    def ask(self, kind: str, **fields: object) -> list[Line]:
        """Send a line; what came because of it."""
        before = len(self.raw)
        self.send({"type": kind, **fields})
        return self.lines(before)

    def leave(self, why: str = "") -> None:
        self.parlour.house.gone(self.guest, why, self.parlour.now)
        self.parlour.turn()

    def lines(self, start: int = 0) -> list[Line]:
        return [json.loads(line) for raw in self.raw[start:] for line in raw.splitlines()]

    def got(self, kind: str) -> list[Line]:
        return [line for line in self.lines() if line["type"] == kind]

    @property
    def texts(self) -> list[str]:
        return [line["text"] for line in self.got("msg")]

    @property
    def notices(self) -> list[str]:
        return [line["text"] for line in self.got("notice")]

    @property
    def errors(self) -> list[str]:
        return [line.get("code", "") for line in self.got("error")]


class Parlour:
    """A house, its clock and its history."""

    def __init__(
        self,
        settings: ChatSettings = SETTINGS,
        history: MemoryHistory | None = None,
        seed: int = 1,
        now: Now = THEN,
    ) -> None:
        self.now = now
        self.history = history or MemoryHistory()
        self.house = House(settings, ANSWERERS, random.Random(seed), self.history.load(), self.now)
        self.locks: list[Lock] = []
        self.turn()

    def visitor(self, nick: str = "", address: str = "", *rooms: str) -> Visitor:
        """Somebody new; with rooms, one that says hello and joins them."""
        visitor = Visitor(self, address)
        self.turn()
        if rooms:
            visitor.send({"type": "hello"})
        if nick:
            visitor.send({"type": "nick", "nick": nick})
        for room in rooms:
            visitor.send({"type": "join", "room": room})
        return visitor

    def wait(self, seconds: float) -> None:
        self.now = Now(self.now.mono + seconds, self.now.wall_ms + int(seconds * 1000))
        self.turn()

    def turn(self) -> None:
        """Carry out what is to be done."""
        while True:
            due = self.house.deadline()
            if not self.house.busy and (due is None or due > self.now.mono):
                return
            for effect in self.house.flush(self.now):
                match effect:
                    case Deliver(raw, to):
                        assert raw.endswith(b"\n")
                        for guest in to:
                            guest.outlet.write(raw)
                    case Keep(batch):
                        self.history.append(batch)
                    case Remember(room):
                        self.history.remember(room)
                    case Own(nick, key):
                        self.history.own(nick, key)
                    case Cut(guest, code):
                        assert isinstance(guest.outlet, Visitor)
                        guest.outlet.cut = code
                    case Bar(bans):
                        self.history.bar(bans)
                    case Recollect():
                        asked = self.history.sent_ids(effect.room, effect.epoch, MAX_CLIENT_IDS)
                        answering.recollected(self.house, effect, at_once(asked))
                    case Recall():
                        page = self.history.read(effect.room, effect.epoch, effect.before, effect.limit)
                        answering.recalled(self.house, effect, at_once(page))
                    case Search():
                        what = (effect.room, effect.epoch, effect.words, effect.before, effect.limit)
                        answering.searched(self.house, effect, asyncio.run(self.history.search(*what)))
                    case Lock():
                        self.locks.append(effect)
                    case _:
                        raise AssertionError("only in a cluster")

    def unlock(self, *, hashed: bytes = b"salted") -> None:
        """Do the hashing that waits: the hash of a password is itself."""
        for effect in self.locks:
            said = hashed + effect.ask.password.encode()
            fits = not effect.lock or effect.lock == said
            answering.unlocked(self.house, effect.guest, effect.ask, effect.lock or said, fits, self.now)
        self.locks.clear()
        self.turn()
