"""`sandpiper keep`: a member that nobody sits at. It is in all rooms of its profile, takes in what is said there, and
gives it to whoever was away; members who are never online together hear of each other through it.

It reads no input and shows no text: a line in the log for each notable thing, or with `--json` the events of line mode.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.core.admission import CodeEnded, CodeTried
from sandpiper.core.events import CatchUp, Forked, MemberChanged, PeerChanged, RoomChanged
from sandpiper.faces import sentences
from sandpiper.faces.incode import enter, go_to
from sandpiper.faces.people import People, room_label
from sandpiper.faces.pipes import Pipes
from sandpiper.faces.recent import Recent
from sandpiper.faces.report import Start
from sandpiper.faces.settings import Entering
from sandpiper.faces.signals import EXIT_INTERRUPTED, Asked, heeded
from sandpiper.faces.stream import Stream, skipped
from sandpiper.node import MeetingNews, Node, PlainPeer
from sandpiper.wire.text import check_room_name

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from sandpiper.node import NodeNotice, NodeSettings
    from sandpiper.store.profile import Profile

log = logging.getLogger(__name__)

EXIT_OK = 0


class KeepSettings(Struct, frozen=True):
    """How a member without a person behaves. `rooms` are names of open rooms to join, `entering` is the private room to
    come into; all rooms of the profile are kept besides. `json`: events on stdout.
    """

    rooms: tuple[str, ...] = ()
    entering: Entering | None = None
    json: bool = False


async def keep(
    profile: Profile, node_settings: NodeSettings, settings: KeepSettings, tell_system: Callable[[str], None]
) -> int:
    """Keep until a signal ends it; the exit code. `tell_system` is told `READY=1` and `STOPPING=1`. SIGHUP changes
    nothing: the log turns its files by itself.

    Raises:
        SandpiperError: the node could not start or come into the room, or its disk or network ended it.
    """
    rooms = [check_room_name(name) for name in settings.rooms]
    node = Node(profile.identity, profile.nick, profile.history, node_settings)
    terminal = Pipes(skipped, coloured=False, utf8=True) if settings.json else None
    keeper = Keeper(node, terminal)
    node.subscribe(keeper.notice)
    try:
        with heeded(keeper.stop, lambda: None, ignored=("SIGHUP",)):
            async with node:
                for name in rooms:
                    go_to(node, keeper.people, name)
                entering = settings.entering
                if entering is not None and not await keeper.unless_stopped(enter(node, entering)):
                    return keeper.exit_code
                keeper.started(profile)
                tell_system("READY=1")
                await keeper.unless_stopped(node.finished())
                tell_system("STOPPING=1")
                keeper.stopping()
    finally:
        keeper.close()
        if terminal is not None:
            await terminal.close()
    return keeper.exit_code


class Keeper:
    """One run: what is told of it, and when it ends."""

    def __init__(self, node: Node, terminal: Pipes | None) -> None:
        self._node = node
        self.people = People(node)
        self._recent = Recent(node)
        self._stream = Stream(node, self.people, self._recent, terminal) if terminal is not None else None
        self._early: list[NodeNotice] | None = []
        self._ended: asyncio.Future[Asked] = asyncio.get_running_loop().create_future()
        self._linked: dict[bytes, str] = {}  # peers that are linked, and the path that was told

    @property
    def exit_code(self) -> int:
        """0, or 130 after SIGINT."""
        return EXIT_INTERRUPTED if self._ended.done() and self._ended.result() == "interrupt" else EXIT_OK

    def stop(self, reason: Asked) -> None:
        """End; the first reason counts."""
        if not self._ended.done():
            self._ended.set_result(reason)

    async def unless_stopped(self, doing: Coroutine[object, object, object]) -> bool:
        """Do something until it is done or we are stopped; whether it was done.

        Raises:
            SandpiperError: what it raises.
        """
        task = asyncio.ensure_future(doing)
        try:
            await asyncio.wait((task, self._ended), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                return False
            task.result()
            return True
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def close(self) -> None:
        """Let go of the history."""
        self._recent.close()

    # ------------------------------------------------------------ what is told

    def started(self, profile: Profile) -> None:
        """All rooms are there."""
        node, people = self._node, self.people
        labels = [people.label(room) for room in node.rooms()]
        for note in profile.notes:
            log.info("%s", note)
        log.info(
            "keeping %s as %s on port %d, process %d",
            ", ".join(labels) or "no room yet: join one with this profile, or name one with --room or --code-file",
            node.nick,
            node.port,
            os.getpid(),
        )
        if self._stream is not None:
            start = Start(
                key=node.key,
                nick=node.nick,
                profile=profile.name,
                port=node.port,
                temporary=False,
                notes=profile.notes,
                compat=node.settings.plain,
            )
            self._stream.started(start, ())
        early, self._early = self._early or [], None
        for notice in early:
            if not isinstance(notice, RoomChanged):
                self.notice(notice)

    def stopping(self) -> None:
        """The end begins."""
        log.info("saying goodbye")
        self._early = []  # it is we who go: nobody wants to read who is lost by that

    def notice(self, notice: NodeNotice) -> None:
        """Something happened (a `Subscriber`)."""
        if self._early is not None:
            self._early.append(notice)
            return
        self.people.learn(notice)
        if self._stream is not None:
            self._stream.notice(notice)
        if line := self._line(notice):
            log.info("%s", line)

    def _line(self, notice: NodeNotice) -> str:
        """A notable thing in words; empty: it is none. No text that somebody wrote, and no secret."""
        people = self.people
        match notice:
            case PeerChanged(peer=peer, state="linked", path=path):
                before, self._linked[peer] = self._linked.get(peer), path
                return f"{people.name(peer)} is linked ({path})" if before != path else ""
            case PeerChanged(peer=peer):
                self._linked.pop(peer, None)
                return f"{people.name(peer)} is gone{f': {notice.reason}' if notice.reason else ''}"
            case PlainPeer(author=author, linked=linked):
                return f"{people.name(author)} is {'linked' if linked else 'gone'}"
            case RoomChanged(joined=True):
                return f"keeping {room_label(notice.name, self._direct(notice))}, too"
            case RoomChanged():
                return f"no longer in {room_label(notice.name, self._direct(notice))}"
            case CatchUp(room=room, missing=0, received=received):
                return f"{received} older messages of {people.room(room)} are here now"
            case MemberChanged():
                return sentences.member_changed(notice, people)
            case CodeTried():
                return sentences.code_tried(notice, people)[0]
            case CodeEnded():
                return sentences.code_ended(notice, people)[0]
            case Forked():
                return sentences.forked(notice, people)[0]
            case MeetingNews(text=text):
                return text
            case _:
                return ""  # a `Problem` is in the log already

    def _direct(self, notice: RoomChanged) -> str | None:
        return self.people.name(notice.peer) if notice.peer is not None else None
