"""A scripted backstage for tests of the whole screen: a real history of records that people signed, and no node.

What people say goes into the file first and is then read from it, as the node's thread does; `tell` posts updates from
a thread that is not the screen's. Every call of the screen is written down in `calls`.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
from rich.cells import cell_len
from textual.pilot import Pilot
from textual.widgets import Input, TextArea
from typing_extensions import override

from sandpiper.core.events import SaveRoom
from sandpiper.crypto.rooms import direct_room, open_room
from sandpiper.faces.settings import TuiSettings
from sandpiper.faces.spans import Line, Span, line
from sandpiper.faces.tui.app import SandpiperApp
from sandpiper.faces.tui.chat import Chat
from sandpiper.faces.tui.views import (
    Around,
    Ask,
    Delivery,
    Named,
    Note,
    PeerView,
    Place,
    Presence,
    RoomView,
    Said,
    Show,
    Update,
    Us,
    Who,
)
from sandpiper.node import PasswordWanted
from sandpiper.store.history import History
from sandpiper.store.reader import Message, Reader
from sandpiper.wire.ids import PeerKey, RecordId, RoomId
from sandpiper.wire.records import AnyBody, React, Text
from tests.unit.authors import Author, keep

if TYPE_CHECKING:
    from sandpiper.errors import SandpiperError
    from sandpiper.faces.tui.backstage import NodeBackstage

replace = msgspec.structs.replace

# Seed of the key and colour (an index into the palette) of everybody in the play.
CAST = {
    "you": (1, 9),
    "maya": (2, 7),
    "tomas": (3, 1),
    "ines": (4, 6),
    "kenji": (5, 5),
    "wren": (6, 14),
    "priya": (7, 2),
}
NOTHING: Place = (-1, b"")
HOURS = 3_600_000
TURNS = 250  # of waiting for something, each some 20 ms: a slow machine has time, a hang ends


def at(clock: str, day: int = 20) -> int:
    """A moment of November 2025, UTC, in ms since 1970: its 20th is a Thursday. Years that have passed are shown."""
    hour, minute = clock.split(":")
    return int(datetime(2025, 11, day, int(hour), int(minute), tzinfo=UTC).timestamp() * 1000)


class Gate:
    """Holds readers back while it is shut: what they have read is handed over once it opens."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self.waiting = 0

    def shut(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def pass_through(self) -> None:
        if not self._open.is_set():
            self.waiting += 1
            try:
                assert self._open.wait(30), "the gate was not opened again"
            finally:
                self.waiting -= 1


class GatedReader(Reader):
    """A reader that is held back when it is done."""

    def __init__(self, path: Path, gate: Gate) -> None:
        super().__init__(path)
        self._gate = gate

    @override
    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self._gate.pass_through()


class Stage:
    """A `Backstage` with nobody but the test behind it."""

    def __init__(self, folder: Path) -> None:
        self.history = History(folder / "history.db")
        self.people = {name: Author(seed) for name, (seed, _) in CAST.items()}
        self.us = Us(self.key("you"), "you", "", False, "192.168.1.7", 8080, True)
        self.rooms: dict[RoomId, RoomView] = {}
        self.peers: dict[str, PeerView] = {}
        self.time = at("12:00")
        self.calls: list[tuple[Any, ...]] = []
        self.trouble: SandpiperError | None = None
        """What opening the history fails with, from now on."""
        self.keys, self.hushed = 0, False
        """Keys that were struck, and whether that was after the last paint."""
        self.gate = Gate()
        self.started = threading.Event()
        self.ask: Ask
        self._tell: Callable[[tuple[Update, ...]], object]

    # ------------------------------------------------------------ what the screen asks

    def start(self, tell: Callable[[tuple[Update, ...]], object], ask: Ask) -> None:
        self._tell, self.ask = tell, ask
        self.started.set()

    def struck(self) -> None:
        self.keys, self.hushed = self.keys + 1, True

    def painted(self) -> None:
        self.hushed = False

    def obey(self, room: RoomId | None, text: str) -> None:
        self.calls.append(("obey", room, text))

    def look(self, room: RoomId | None, *, focused: bool) -> None:
        self.calls.append(("look", room, focused))

    def read(self, room: RoomId, place: Place) -> None:
        self.calls.append(("read", room, place))

    def typing(self, room: RoomId) -> None:
        self.calls.append(("typing", room))

    def unlock(self, wanted: PasswordWanted, password: str | None) -> None:
        self.calls.append(("unlock", wanted, password))

    def open_direct(self, key: PeerKey) -> None:
        self.calls.append(("open_direct", key))

    def verify(self, key: PeerKey, *, verified: bool) -> None:
        self.calls.append(("verify", key, verified))

    def stop(self) -> None:
        self.calls.append(("stop",))

    def reader(self) -> Reader:
        if self.trouble is not None:
            raise self.trouble
        return GatedReader(self.history.path, self.gate)

    def asked(self, what: str) -> list[tuple[Any, ...]]:
        """The calls of this name, without it."""
        return [call[1:] for call in self.calls if call[0] == what]

    # ------------------------------------------------------------ who is there and where

    def key(self, name: str) -> PeerKey:
        return self.people[name].key

    def enter(self, name: str, *, topic: str = "", unread: int = 0, mentions: int = 0, others: int = 5) -> RoomId:
        """We are in the open room of this name from now on."""
        room = open_room(name)
        self.history.save_room(SaveRoom(room, name, "open", None, joined=True))
        self.history.commit()
        self.rooms[room] = RoomView(room, f"#{name}", "open", None, topic, others, unread, mentions, NOTHING)
        return room

    def enter_direct(self, name: str, *, unread: int = 0) -> RoomId:
        """We are in the direct room with somebody from now on."""
        key = self.key(name)
        room = direct_room(self.us.key, key)
        self.history.save_room(SaveRoom(room, "", "direct", key, joined=True))
        self.history.commit()
        self.rooms[room] = RoomView(room, f"@{name}", "direct", key, "", 1, unread, 0, NOTHING)
        return room

    def meet(
        self,
        name: str,
        path: str = "lan",
        rtt: float | None = 0.001,
        *,
        verified: bool = True,
        presence: Presence = "here",
        status: str = "",
        unread: int = 0,
    ) -> None:
        """Somebody is linked; `gone`: they were, some two hours ago."""
        key = self.key(name)
        seen = 0 if presence != "gone" else int(datetime.now(UTC).timestamp() * 1000) - 2 * HOURS - HOURS // 10
        room = direct_room(self.us.key, key)
        self.peers[name] = PeerView(key, name, CAST[name][1], verified, presence, status, path, rtt, seen, room, unread)

    def view(self, room: RoomId, **changes: Any) -> None:
        """A room is different now: `unread`, `read`, `topic` …"""
        self.rooms[room] = replace(self.rooms[room], **changes)

    def around(self) -> Around:
        return Around(self.us, tuple(self.rooms.values()), tuple(self.peers.values()))

    def named(self, room: RoomId) -> Named:
        who = {
            self.key(name): Who(name, colour, name in self.peers and self.peers[name].verified)
            for name, (_, colour) in CAST.items()
        }
        return Named(room, who)

    def opening(self) -> list[Update]:
        """The first batch."""
        around = self.around()
        start = [Show(around.rooms[0].id)] if around.rooms else []
        return [around, *map(self.named, self.rooms), *start]

    # ------------------------------------------------------------ what is said

    def say(self, name: str, body: str | Text, room: RoomId, *, time: int | None = None) -> Message:
        """Somebody says something; it is in the history, and nobody has been told."""
        return self.say_all([(name, body)], room, time=time)[0]

    def say_all(
        self, said: Iterable[tuple[str, str | Text]], room: RoomId, *, time: int | None = None
    ) -> list[Message]:
        """The same for many, each a second later than the one before."""
        if time is not None:
            self.time = time - 1000
        appends = []
        for name, body in said:
            self.time += 1000
            appends.append(self.people[name].write(body, room=room, time=self.time))
        return self.messages(record.id for record in keep(self.history, *appends))

    def change(self, name: str, body: AnyBody, target: Message) -> Message:
        """Somebody edits, deletes or reacts; the message as it is now."""
        self.time += 1000
        keep(self.history, self.people[name].write(body, room=target.room, time=self.time))
        return self.messages([target.id])[0]

    def messages(self, ids: Iterable[RecordId]) -> list[Message]:
        with Reader(self.history.path) as reader:
            return reader.messages(list(ids))

    # ------------------------------------------------------------ telling

    async def tell(self, *updates: Update) -> None:
        """One batch, from another thread."""
        await asyncio.to_thread(self._tell, updates)

    async def tell_said(self, *messages: Message) -> None:
        """Messages that somebody has just said, or that have changed."""
        await self.tell(Said(messages[0].room, messages, frozenset(one.id for one in messages)))


def event(*parts: str | Span, time: int, room: RoomId | None = None) -> Note:
    """Something happened."""
    spans: Line = line(*parts)
    return Note(room, "event", (tuple(one if one.style else Span(one.text, "dim") for one in spans),), time)


class Play:
    """The screen in front of a stage, and what a person does there."""

    def __init__(self, pilot: Pilot[int], app: SandpiperApp, stage: Stage) -> None:
        self.pilot = pilot
        self.app = app
        self.stage = stage

    @property
    def chat(self) -> Chat:
        return self.app.chat

    @property
    def text(self) -> str:
        """What is on the screen, dialogs included."""
        return "\n".join(strip.text for strip in self.app.screen._compositor.render_strips())

    @property
    def read_lines(self) -> list[str]:
        """What the transcript shows, row by row."""
        transcript = self.chat.transcript
        return [transcript.render_line(y).text.rstrip() for y in range(transcript.size.height)]

    @property
    def transcript(self) -> str:
        return "\n".join(self.read_lines)

    def where(self, text: str) -> tuple[int, int]:
        """The cell in which this text begins on the screen, the first time that it is there."""
        for y, row in enumerate(self.text.split("\n")):
            if text in row:
                return cell_len(row[: row.index(text)]), y
        raise AssertionError(f"{text!r} is not on the screen\n{self.text}")

    async def click(self, text: str, times: int = 1) -> None:
        """Click on the beginning of this text."""
        await self.pilot.click(offset=self.where(text), times=times)

    async def drag(self, start: tuple[int, int], end: tuple[int, int]) -> None:
        """Select with the mouse, up to and with the cell `end`."""
        await self.pilot.mouse_down(offset=start)
        await self.pilot.hover(offset=end)
        await self.pilot.mouse_up(offset=end)

    @property
    def chosen(self) -> str | None:
        """The text of the selected message."""
        message = self.chat.transcript.chosen
        return message.text if message is not None else None

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def type(self, text: str) -> None:
        names = {" ": "space", "\n": "ctrl+j"}
        await self.pilot.press(*(names.get(letter, letter) for letter in text))

    async def enter(self, text: str) -> None:
        await self.type(text)
        await self.press("enter")

    async def tell(self, *updates: Update) -> None:
        await self.stage.tell(*updates)

    async def until(self, predicate: Callable[[], object], what: str = "") -> None:
        """Until this holds."""
        for _ in range(TURNS):
            if predicate():
                return
            await self.pilot.pause()
        raise AssertionError(f"{what or 'it'} did not come\n{self.text}\n{self.stage.calls[-10:]}")

    async def sees(self, *texts: str) -> None:
        """Until all of these are on the screen."""
        await self.until(lambda: all(text in self.text for text in texts), repr(texts))

    async def sees_no(self, *texts: str) -> None:
        """Until none of these is on the screen."""
        await self.until(lambda: all(text not in self.text for text in texts), f"not {texts!r}")

    async def settled(self) -> None:
        """Until nothing is read and nothing waits to be shown."""
        await self.until(lambda: not any(worker.is_running for worker in self.app.workers), "the end of all work")
        await self.pilot.pause()

    async def room_is(self, room: RoomId | None) -> None:
        await self.until(lambda: self.chat.room == room, f"the room {room!r}")

    def keep_still(self) -> None:
        """No cursor blinks: pictures are of no moment."""
        for screen in self.app.screen_stack:
            for field in screen.query(TextArea):
                field.cursor_blink = False
            for entry in screen.query(Input):
                entry.cursor_blink = False


@asynccontextmanager
async def playing(
    stage: Stage,
    size: tuple[int, int] = (120, 34),
    *more: Update,
    save: Callable[[str, str], None] | None = None,
    begin: bool = True,
    **settings: Any,
) -> AsyncIterator[Play]:
    """The screen with everything of the stage on it (unless it should not `begin`) and all of `more`, at UTC."""
    stage.started.clear()
    app = SandpiperApp(cast("NodeBackstage", stage), TuiSettings(**settings), save)
    async with app.run_test(size=size, notifications=True) as pilot:
        play = Play(pilot, app, stage)
        await play.until(stage.started.is_set, "the start")
        transcript = app.chat.transcript
        transcript.set(replace(transcript.sheets.setting, zone=UTC))
        if begin:
            await stage.tell(*stage.opening(), *more)
            await play.until(lambda: app.chat.around is not None, "the first batch")
            await play.settled()
        try:
            yield play
        finally:
            stage.gate.open()


@contextlib.contextmanager
def stage_in(folder: Path):
    """An empty stage with a history in this folder."""
    stage = Stage(folder)
    try:
        yield stage
    finally:
        stage.history.close()


def harbour(stage: Stage) -> list[Update]:
    """The crew of the Sanderling: the scripted chat of the pictures. Returns what is told after the first batch."""
    room = stage.enter("harbour", topic="Saturday on the Sanderling: tides, crew, snacks")
    stage.enter("build-crew", unread=5, mentions=2)
    stage.enter("tides", unread=3)
    stage.enter("random")
    stage.enter_direct("maya", unread=2)
    stage.meet("maya", unread=2)
    stage.meet("tomas", "direct", 0.024)
    stage.meet("ines")
    stage.meet("kenji", "relay", 0.081, verified=False, presence="away", status="walking the dog")
    stage.meet("wren", rtt=0.002)
    stage.meet("priya", "", None, presence="gone")

    def say(name: str, text: str, clock: str, reply_to: Message | None = None) -> Message:
        body = Text(text, reply_to=reply_to.id if reply_to is not None else b"")
        return stage.say(name, body, room, time=at(clock))

    say(
        "ines",
        "Tide table for Saturday: high water **06:41** and **19:08**, 4.2 m. Springs, so expect two knots across the "
        "bar.",
        "13:52",
    )
    plan = say("tomas", "Then we leave on the ebb. I make it 08:30 from the fuel dock, home by five.", "13:55")
    for name, emoji in (("maya", "⛵"), ("ines", "⛵"), ("you", "👍"), ("wren", "⛵"), ("kenji", "👍")):
        stage.change(name, React(plan.id, emoji), plan)
    hello = say("kenji", "Hi all! こんにちは 👋 Any room left on the *Sanderling*?", "14:06")
    last_read = say("maya", "Always. Bring a jacket, the forecast says F4 gusting 6.", "14:07", hello)
    radio = say(
        "tomas",
        "@you can you bring the handheld VHF? Ours is on channel 72 only, see `radio.toml` or "
        "https://sandpiper.example/radio",
        "14:19",
    )
    packed = say("you", "Yes, charged and packed.", "14:20", radio)
    say("wren", "```\n[radio]\nwatch  = [16, 72]\nsquelch = 3   # quieter at the quay\n```", "14:21")
    thanks = say("you", "That is quieter indeed, thanks Wren!", "14:23")
    stage.view(room, unread=3, read=last_read.place)
    seen = replace(
        stage.around(), rooms=tuple(replace(one, unread=0) if one.id == room else one for one in stage.rooms.values())
    )
    came = event(Span("kenji", f"nick {CAST['kenji'][1]}"), " came · via relay", time=at("14:05"), room=room)
    unsure = Note(
        room,
        "trouble",
        (line(Span("kenji is not verified yet.", "warn"), " Compare safety words with /verify kenji"),),
        at("14:05"),
    )
    return [
        seen,
        came,
        unsure,
        Delivery(room, packed.id, 5, 5),
        Delivery(room, thanks.id, 2, 5),
    ]
