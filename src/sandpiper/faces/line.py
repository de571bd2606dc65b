"""Line mode's life: start the node, tell what happens, do what is typed, and end well however it ends."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Literal

from sandpiper.core.events import Accepted, Delivered, PeerChanged, RoomChanged
from sandpiper.errors import LocalProtocolError, SandpiperError
from sandpiper.faces import incode
from sandpiper.faces.commands import Call, execute, parse
from sandpiper.faces.context import Context
from sandpiper.faces.incode import check_start, enter, start_in
from sandpiper.faces.onhubs import PASSWORD, Given, is_hub_room, unlock
from sandpiper.faces.people import PLAIN_ROOM, PLAIN_ROOM_NAME, People
from sandpiper.faces.pipes import Pipes
from sandpiper.faces.recent import Recent
from sandpiper.faces.report import Report, Start
from sandpiper.faces.sentences import where_reached
from sandpiper.faces.signals import EXIT_INTERRUPTED, heeded
from sandpiper.faces.spans import dim, line
from sandpiper.faces.stream import Stream
from sandpiper.faces.stream import skipped as skipped_event
from sandpiper.faces.terminal import Ended, PromptState, TooLong
from sandpiper.faces.transcript import Transcript
from sandpiper.faces.transcript import skipped as skipped_line
from sandpiper.net.hub import parse_hub
from sandpiper.node import CodePassword, MeetingNews, Node, NodeSettings, PasswordWanted, PlainPeer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandpiper.faces.logs import Narrator
    from sandpiper.faces.settings import Entering, LineSettings
    from sandpiper.faces.spans import Line
    from sandpiper.faces.terminal import Terminal
    from sandpiper.faces.verifying import Comparison
    from sandpiper.node import NodeNotice
    from sandpiper.store.profile import Profile
    from sandpiper.store.reader import Message
    from sandpiper.wire.ids import RoomId

LONELY_SECONDS = 2.0  # who is on this network has answered by now (they take at most 50 ms)

EXIT_OK = 0

Reason = Literal["eof", "quit", "interrupt", "stopped", "gone", "broken"]


async def run(
    profile: Profile,
    node_settings: NodeSettings,
    settings: LineSettings,
    narrator: Narrator | None = None,
) -> int:
    """Chat until the input ends or somebody ends it; the exit code. `narrator` tells the log to the screen, which a
    prompt then owns.

    Raises:
        SandpiperError: the node could not start, or its disk or network ended it.
    """
    check_start(settings.room)
    hub = parse_hub(settings.hub) if settings.hub else None
    terminal = _terminal(settings)
    node = Node(profile.identity, profile.nick, profile.history, node_settings)
    face = LineFace(node, profile, settings, terminal)
    node.subscribe(face.notice)
    aside = partial(terminal.write, aside=True)
    with (
        narrator.through(aside) if narrator is not None else contextlib.nullcontext(),
        heeded(face.stop, terminal.give_back),
    ):
        try:
            async with node:
                if node_settings.plain:
                    node.join(PLAIN_ROOM_NAME)  # the old dialect knows no other
                room = start_in(node, People(node), settings.room)
                if settings.entering is not None:
                    entered = await face.entered(settings.entering)
                    if entered is None:  # it was interrupted
                        return EXIT_INTERRUPTED
                    room = entered
                face.started(node.connect_hub(hub) if hub is not None else room)
                reason = await face.live()
        finally:
            await terminal.close()
    if reason == "broken":
        raise LocalProtocolError("The prompt failed: a mistake of ours.", hint="The log file says more.")
    return EXIT_INTERRUPTED if reason == "interrupt" else EXIT_OK


def _terminal(settings: LineSettings) -> Terminal:
    skipped = skipped_event if settings.json else skipped_line
    if settings.prompt:
        from sandpiper.faces.prompt import Prompt  # prompt_toolkit takes longer to load than all else together

        return Prompt(skipped, coloured=settings.coloured)
    return Pipes(skipped, coloured=settings.coloured, utf8=settings.json)


class LineFace:
    """One run of line mode; the `Face` that commands answer to."""

    def __init__(self, node: Node, profile: Profile, settings: LineSettings, terminal: Terminal) -> None:
        self._node = node
        self._profile = profile
        self._settings = settings
        self._terminal = terminal
        self._people = People(node)
        self._recent = recent = Recent(node)
        self._report: Report = (
            Stream(node, self._people, recent, terminal)
            if settings.json
            else Transcript(node, self._people, recent, terminal, quiet=settings.quiet, qr=settings.qr)
        )
        self._context = Context(node, profile, self._people, self)
        self._early: list[NodeNotice] | None = []  # what happens before the start has been told
        self._ended: asyncio.Future[Reason] = asyncio.get_running_loop().create_future()
        self._moved = asyncio.Event()
        self._sent: set[RoomId] = set()  # rooms in which we have said something in this run
        self._heard: set[RoomId] = set()  # those in which somebody has it
        self._leaving = False
        self._given = Given(settings.password, settings.hub)
        self._wanted: list[
            PasswordWanted | CodePassword
        ] = []  # passwords that the person is asked for, the first one now

    # ------------------------------------------------------------ Face

    @property
    def room(self) -> RoomId | None:
        """See `Face`."""
        return self._report.room

    def switch(self, room: RoomId | None) -> None:
        """See `Face`."""
        self._report.room = room
        self._prompt()

    def reply(self, code: str, lines: Sequence[Line]) -> None:
        """See `Face`."""
        self._report.reply(code, lines)

    def listing(self, messages: Sequence[Message], words: str = "") -> None:
        """See `Face`. What was searched for stands in the line above: it was typed there."""
        self._report.listing(messages)

    def compare(self, comparison: Comparison) -> None:
        """See `Face`."""
        self._report.compare(comparison)

    def ask_password(self, wanted: PasswordWanted | CodePassword) -> None:
        """See `Face`."""
        if not self._terminal.interactive and isinstance(wanted, CodePassword):
            hint = "Come with: sandpiper join, and --password-file or SANDPIPER_ROOM_PASSWORD."
            self.trouble("password_needed", wanted.text, hint)
        elif not self._terminal.interactive:
            assert isinstance(wanted, PasswordWanted)
            hint = "Give it with --password-file or SANDPIPER_HUB_PASSWORD."
            self.trouble("wrong_password" if wanted.wrong else "locked", f"{wanted.label}: {wanted.text}", hint)
        elif all(one.label != wanted.label for one in self._wanted):
            self.reply("password", [line(dim(wanted.text + " Enter alone: not now."))])
            self._wanted.append(wanted)
            self._prompt()

    async def _password(self, typed: str) -> None:
        """What was typed where a password was asked for."""
        wanted = self._wanted.pop(0)
        try:
            if isinstance(wanted, CodePassword):
                if typed:
                    await incode.join(self._context, wanted.code, typed)
                else:
                    self.reply("password", [line(dim("You stay outside. To be asked again: /join and the code"))])
            elif not typed:
                self.reply("password", [line(dim(f"{wanted.label} stays closed: /join {wanted.label} {PASSWORD}"))])
            elif (room := unlock(self._node, wanted, typed)) is not None:
                self.switch(room)
        except SandpiperError as exc:
            self.trouble(exc.code, str(exc), exc.hint)
        self._prompt()

    def trouble(self, code: str, text: str, hint: str = "") -> None:
        """See `Face`."""
        self._report.trouble(code, text, hint)

    def clear(self) -> None:
        """See `Face`."""
        self._terminal.clear()

    def quit(self) -> None:
        """See `Face`."""
        self.stop("quit")

    # ------------------------------------------------------------ what the node tells

    def notice(self, notice: NodeNotice) -> None:
        """Something happened (a `Subscriber`)."""
        if self._early is not None:
            if isinstance(notice, MeetingNews) and not self._settings.json:
                self._report.notice(notice)  # whoever joins wants to see how far it is
            else:
                self._early.append(notice)
            return
        if self._leaving and isinstance(notice, PeerChanged | PlainPeer):
            return  # it is we who go
        self._people.learn(notice)
        self._report.notice(notice)
        if isinstance(notice, PasswordWanted) and not self._given.used(self._node, notice):
            self.ask_password(notice)
        if isinstance(notice, RoomChanged) and not notice.joined and notice.room == self._report.room:
            rooms = self._node.rooms()  # we were put out of it
            self._report.room = rooms[0].id if rooms else None
        if isinstance(notice, Delivered) and notice.delivered:
            self._heard.add(notice.room)
        self._moved.set()
        if not isinstance(notice, Accepted):
            self._prompt()
        elif notice.mine and not notice.history:
            self._sent.add(notice.record.room)
            if notice.record.room == PLAIN_ROOM and self._people.plain:
                self._heard.add(PLAIN_ROOM)  # the old dialect confirms nothing

    def _prompt(self) -> None:
        if not self._terminal.interactive:
            return
        node, people, room = self._node, self._people, self._report.room
        on_hub = [people.name(key, room) for key in people.here(room)] if room and is_hub_room(node, room) else []
        self._terminal.prompt(
            PromptState(
                room=people.room(room) if room is not None else "",
                others=len(people.here(room)) if room is not None else 0,
                away=bool(node.status),
                rooms=(
                    *(people.label(one) for one in node.rooms()),
                    *(f"#{name}" for name in node.hubs.elsewhere()),
                ),
                nicks=tuple(name for name in (*node.names.all(), *people.plain.values(), *on_hub) if name != node.nick),
                secret=f"Password of {self._wanted[0].label}: " if self._wanted else "",
            )
        )

    # ------------------------------------------------------------ life

    async def entered(self, entering: Entering) -> RoomId | None:
        """The private room to begin in, once we are in it; None: somebody ended this first.

        Raises:
            SandpiperError: it could not be made, or did not let us in.
        """
        entry = asyncio.create_task(enter(self._node, entering), name="enter")
        try:
            await asyncio.wait((entry, self._ended), return_when=asyncio.FIRST_COMPLETED)
            return entry.result() if entry.done() else None
        finally:
            entry.cancel()
            await asyncio.gather(entry, return_exceptions=True)

    def started(self, room: RoomId) -> None:
        """The node runs and is in `room`: tell that, and what has happened since."""
        self._report.room = room
        earlier: list[Message] = []
        if self._terminal.interactive and self._settings.history_lines:
            with self._node.reader() as reader:
                earlier = reader.page(room, limit=self._settings.history_lines)
        profile, node = self._profile, self._node
        start = Start(
            key=node.key,
            nick=node.nick,
            profile=profile.name,
            port=node.port,
            temporary=profile.temporary,
            notes=profile.notes,
            compat=node.settings.plain,
        )
        self._report.started(start, earlier)
        early, self._early = self._early or [], None
        for notice in early:
            if not isinstance(notice, RoomChanged):
                self.notice(notice)
        self._prompt()
        self._terminal.start()

    def stop(self, reason: Reason) -> None:
        """End `live`; the first reason counts."""
        if not self._ended.done():
            self._ended.set_result(reason)

    async def live(self) -> Reason:
        """Until the end; says why it ended."""
        tasks: list[asyncio.Future[None]] = [
            asyncio.create_task(self._converse(), name="input"),
            asyncio.create_task(self._look_around(), name="look around"),
            asyncio.create_task(self._node.finished(), name="node finished"),
        ]
        try:
            await asyncio.wait((self._ended, tasks[0], tasks[2]), return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            return self._ended.result() if self._ended.done() else "stopped"
        finally:
            self._leaving = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._recent.close()

    async def _converse(self) -> None:
        while not self._ended.done():
            match await self._terminal.read():
                case Ended(reason=reason):
                    if reason == "eof" and not self._terminal.interactive:
                        await self._flush()
                    self.stop(reason)
                case TooLong():
                    self.trouble("too_long", "That line is longer than 64 KiB and was not sent.", "Send it in parts.")
                case typed if self._wanted:
                    await self._password(typed.text)
                case typed:
                    await self._obey(typed.text)

    async def _obey(self, text: str) -> None:
        if not text.strip():
            return
        try:
            if self._terminal.interactive and isinstance(parse(text), Call):
                self.reply("typed", [line(dim(f"▸ {text}"))])
            await execute(self._context, text)
        except SandpiperError as exc:
            self.trouble(exc.code, str(exc), exc.hint)
        self._prompt()
        await asyncio.sleep(0)  # a long input must not keep links from being served

    async def _look_around(self) -> None:
        """When nobody has answered, say what to do."""
        await asyncio.sleep(LONELY_SECONDS)
        node = self._node
        if node.linked() or self._people.plain or any(view.phase == "up" for view in node.hubs.views()):
            return
        if any(up for _, up in node.codes.reached()):  # members come over the relay
            return
        where = where_reached(self._node.settings, self._node.port)
        if self._node.settings.multicast:
            self._report.narrate("nobody", "Nobody here yet. Others on this network join you with: sandpiper")
            text = "Where beacons do not reach, they link to you with:"
        else:
            text = "Nobody here yet. Peers are not looked for; others link to you with:"
        self._report.narrate("nobody", text, f"sandpiper --peer {where}  (or /connect {where})")

    async def _flush(self) -> None:
        """The input has ended: wait a little until everybody who can be reached has what we sent."""
        node = self._node
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.linger):
                while node.unsaid() or (self._sent and (self._unheard() or node.undelivered())):
                    self._moved.clear()
                    await self._moved.wait()
        kept = "It is kept, and goes out when you meet."
        if unheard := self._unheard():
            rooms = " and ".join(self._people.room(room) for room in unheard)
            self._report.narrate("undelivered", f"Nobody was in {rooms} to receive what you sent.", kept)
        elif self._sent and (left := node.undelivered()):
            messages = "1 message is" if left == 1 else f"{left} messages are"
            self._report.narrate("undelivered", f"{messages} not with everybody yet.", kept)

    def _unheard(self) -> list[RoomId]:
        """Rooms in which we have said something, nobody is, and nobody was who got it."""
        rooms = (room for room in self._sent - self._heard if self._node.room(room) is not None)
        return [room for room in rooms if not self._people.here(room)]
