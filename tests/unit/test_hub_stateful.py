"""Whatever guests do in whatever order: every member gets every message once and in order, and nobody else any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from typing_extensions import override

from sandpiper.core.events import Now
from sandpiper.wire.hub import asks
from sandpiper.wire.hub.lines import decode_chunk, encode_asks
from tests.unit.parlour import Parlour, Visitor

if TYPE_CHECKING:
    from sandpiper.wire.hub.asks import Ask

ROOMS = ("lobby", "dev")
rooms = st.sampled_from(ROOMS)
people = st.integers(0, 2)


class Chat(RuleBasedStateMachine):
    """Guests come, talk in several rooms within one turn of the loop, leave, are put out, and resume."""

    def __init__(self) -> None:
        super().__init__()
        self.parlour = Parlour()
        self.visitors: list[Visitor | None] = [None] * 3
        self.expected: dict[Visitor, dict[str, list[str]]] = {}  # what each must get, by room
        self.gone: list[Visitor] = []
        self.said: dict[str, list[str]] = {room: [] for room in ROOMS}
        self.left: dict[int, dict[str, tuple[str, int]]] = {}  # where each was, at which number, when it went
        self.count = 0

    def inside(self, visitor: Visitor) -> set[str]:
        return {room.name for room in visitor.guest.rooms}

    def take(self, visitor: Visitor, *some: Ask) -> None:
        """Without a turn of the loop after it."""
        self.parlour.house.take(visitor.guest, decode_chunk(encode_asks(some)), self.parlour.now)

    @rule(who=people, hello=st.booleans())
    def come(self, who: int, hello: bool) -> None:
        if self.visitors[who] is None:
            visitor = self.visitors[who] = Visitor(self.parlour, "")
            self.expected[visitor] = {room: [] for room in ROOMS}
            if hello:
                self.take(visitor, asks.Hello())
                self.take(visitor, asks.Nick(f"guest{who}"))

    @rule(who=people, room=rooms, resume=st.booleans())
    def join(self, who: int, room: str, resume: bool) -> None:
        visitor = self.visitors[who]
        if visitor is None or room in self.inside(visitor):
            return
        epoch, since = self.left.get(who, {}).get(room, ("", 0))
        there = self.parlour.house.rooms.get(room)
        if resume and there is not None and there.epoch == epoch:
            self.take(visitor, asks.Join(room, epoch=epoch, since=since))
            self.expected[visitor][room] += self.said[room][since:]
        else:
            self.take(visitor, asks.Join(room))
            if there is None:
                self.said[room] = []
        assert room in self.inside(visitor)

    @rule(who=people, room=rooms)
    def leave(self, who: int, room: str) -> None:
        visitor = self.visitors[who]
        if visitor is not None and room in self.inside(visitor):
            self.note(who, visitor)
            self.take(visitor, asks.Leave(room))

    def note(self, who: int, visitor: Visitor) -> None:
        places = self.left.setdefault(who, {})
        for room in visitor.guest.rooms:
            places[room.name] = (room.epoch, room.seq)

    @rule(who=people, plan=st.lists(rooms, min_size=1, max_size=8), ids=st.booleans())
    def say(self, who: int, plan: list[str], ids: bool) -> None:
        visitor = self.visitors[who]
        if visitor is None:
            return
        msgs = []
        for room in plan:
            self.count += 1
            text = f"m{self.count}"
            msgs.append(asks.Msg(text, room, client_id=f"id{self.count}" if ids else ""))
            if room in self.inside(visitor):
                self.said[room].append(text)
                for other in self.visitors:
                    if other is not None and room in self.inside(other):
                        self.expected[other][room].append(text)
        self.take(visitor, *msgs)
        if ids:
            self.take(visitor, *msgs)  # a resend: nothing of it may be said again

    @rule(who=people, other=people, room=rooms)
    def kick(self, who: int, other: int, room: str) -> None:
        visitor, target = self.visitors[who], self.visitors[other]
        there = self.parlour.house.rooms.get(room)
        if visitor is None or target is None or there is None or not there.is_operator(visitor.guest):
            return
        if room in self.inside(target):
            self.note(other, target)
            self.take(visitor, asks.Kick(target.guest.nick, room))
            assert room not in self.inside(target)

    @rule(who=people)
    def go(self, who: int) -> None:
        visitor = self.visitors[who]
        if visitor is not None:
            self.note(who, visitor)
            self.parlour.house.gone(visitor.guest, "", self.parlour.now)
            self.visitors[who] = None
            self.gone.append(visitor)

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.06]))
    def turn(self, seconds: float) -> None:
        now = self.parlour.now
        self.parlour.now = Now(now.mono + seconds, now.wall_ms + int(seconds * 1000))
        self.parlour.turn()
        self.check()

    def check(self) -> None:
        for visitor, expected in self.expected.items():
            got: dict[str, list[str]] = {room: [] for room in ROOMS}
            last: dict[str, int] = {}
            for line in visitor.lines():
                room = line.get("room", "lobby")
                if line["type"] == "joined":
                    last.pop(room, None)
                if line["type"] == "msg":
                    got[room].append(line["text"])
                    assert line["seq"] == last.get(room, line["seq"] - 1) + 1, "a hole"
                    last[room] = line["seq"]
                if line["type"] == "left":
                    last.pop(room, None)
            assert got == expected
        for visitor in self.gone:
            del self.expected[visitor]
        self.gone.clear()

    @invariant()
    def numbers_have_no_holes(self) -> None:
        for room in self.parlour.house.rooms.values():
            assert len(room.pending) <= room.seq
            assert room.seq == len(self.said[room.name])

    @override
    def teardown(self) -> None:
        self.parlour.turn()
        self.check()


TestChat = Chat.TestCase
TestChat.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
