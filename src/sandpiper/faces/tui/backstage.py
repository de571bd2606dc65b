"""The thread with the node: does what the screen asks for, one thing after another, and tells what happens.

Nothing is shared with the screen's thread but a queue of calls; what is told goes out by `tell`. Whatever is heavy to
load is loaded in the thread, so that the screen is painted before.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, assert_never

from msgspec import Struct

from sandpiper.errors import SandpiperError, StoreError
from sandpiper.faces.settings import Secret
from sandpiper.faces.tui.hush import Hush
from sandpiper.faces.tui.views import Ended, Joining, NotDone, Place
from sandpiper.node.notices import CodePassword, MeetingNews, PasswordWanted
from sandpiper.wire.ids import PeerKey, RoomId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sandpiper.faces.context import Context
    from sandpiper.faces.settings import Entering, TuiSettings
    from sandpiper.faces.tui.answering import CommandFace
    from sandpiper.faces.tui.telling import Telling
    from sandpiper.faces.tui.views import Ask, Update
    from sandpiper.node import Node, NodeNotice, NodeSettings
    from sandpiper.store.profile import Profile
    from sandpiper.store.reader import Reader

    Tell = Callable[[tuple[Update, ...]], object]

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 1.0  # a command that takes longer (a relay far away) does not hold up the next ones
LAST_SECONDS = 2.0  # what was typed before the end is done within this time, or not at all


# ---------------------------------------------------------------- what the screen has asked for


class _Obey(Struct, frozen=True):
    room: RoomId | None
    text: str


class _Look(Struct, frozen=True):
    room: RoomId | None
    focused: bool


class _Read(Struct, frozen=True):
    room: RoomId
    place: Place


class _Typing(Struct, frozen=True):
    room: RoomId


class _Verify(Struct, frozen=True):
    key: PeerKey
    verified: bool


class _Unlock(Struct, frozen=True):
    wanted: PasswordWanted | CodePassword
    password: Secret | None


class _OpenDirect(Struct, frozen=True):
    key: PeerKey


class _Stop(Struct, frozen=True):
    pass


_Call = _Obey | _Look | _Read | _Typing | _Verify | _Unlock | _OpenDirect | _Stop


class _Asking:
    """The screen's `Ask`; `waiting` while a person is asked."""

    def __init__(self, ask: Ask) -> None:
        self.waiting = False
        self._ask = ask

    def nick(self, suggested: str) -> str:
        """See `Ask`."""
        with self._waiting():
            return self._ask.nick(suggested)

    def passphrase(self, prompt: str) -> str:
        """See `Ask`."""
        with self._waiting():
            return self._ask.passphrase(prompt)

    def password(self, wanted: CodePassword) -> str:
        """See `Ask`."""
        with self._waiting():
            return self._ask.password(wanted)

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        self.waiting = True
        try:
            yield
        finally:
            self.waiting = False


class NodeBackstage:
    """A `views.Backstage` with a real node. `start` it once; it has ended when `join` returns True."""

    def __init__(
        self,
        open_profile: Callable[[Ask], Profile],
        node_settings: Callable[[], NodeSettings],
        settings: TuiSettings,
    ) -> None:
        """Both callables are called in the thread; `open_profile` may ask the person, and may block while it does."""
        self._open_profile = open_profile
        self._node_settings = node_settings
        self._settings = settings
        self._tell: Tell
        self._asking: _Asking
        self._thread = threading.Thread(target=self._main, name="node", daemon=True)
        self._calls: deque[_Call] = deque()
        self._underway: set[asyncio.Task[None]] = set()  # commands that have not ended
        self._loop: asyncio.AbstractEventLoop | None = None
        self._called: asyncio.Event
        self._stop_asked = False
        self._stopping: asyncio.Future[None]
        self._history: Path | None = None
        self._hush = Hush()
        self.ended: Ended | None = None
        """How it ended, once it has."""

    # ------------------------------------------------------------ the screen's thread

    def start(self, tell: Tell, ask: Ask) -> None:
        """Begin. `tell` is called in the node's thread with what happens, until a batch that ends with `Ended`; `ask`
        is asked there, before a profile is open.
        """
        self._tell, self._asking = tell, _Asking(ask)
        self._thread.start()

    def join(self, timeout: float | None = None) -> bool:
        """Wait, at most `timeout` seconds, until everything is on the disk; False: it is not yet. While a person is
        asked something there is nothing to wait for: a screen that is gone gives no answer.
        """
        if self._thread.ident is not None and not self._asking.waiting:
            self._thread.join(timeout)
        return not self._thread.is_alive() or self._asking.waiting

    @property
    def opened(self) -> bool:
        """True once there is a profile: before that nothing can have gone wrong that somebody who leaves must know."""
        return self._history is not None

    def struck(self) -> None:
        """A key is on its way to the screen: give way to it."""
        if self._loop is not None:
            self._hush.begin(self._loop)

    def painted(self) -> None:
        """Go on."""
        self._hush.end()

    def obey(self, room: RoomId | None, text: str) -> None:
        """See `Backstage`."""
        self._call(_Obey(room, text))

    def look(self, room: RoomId | None, *, focused: bool) -> None:
        """See `Backstage`."""
        self._call(_Look(room, focused))

    def read(self, room: RoomId, place: Place) -> None:
        """See `Backstage`."""
        self._call(_Read(room, place))

    def typing(self, room: RoomId) -> None:
        """See `Backstage`."""
        self._call(_Typing(room))

    def verify(self, key: PeerKey, *, verified: bool) -> None:
        """See `Backstage`."""
        self._call(_Verify(key, verified))

    def unlock(self, wanted: PasswordWanted | CodePassword, password: str | None) -> None:
        """See `Backstage`."""
        self._call(_Unlock(wanted, Secret(password) if password is not None else None))

    def open_direct(self, key: PeerKey) -> None:
        """See `Backstage`."""
        self._call(_OpenDirect(key))

    def stop(self) -> None:
        """See `Backstage`. What was asked for before is done first, if that does not take long."""
        self._stop_asked = True
        self._call(_Stop())

    def reader(self) -> Reader:
        """See `Backstage`."""
        from sandpiper.store.reader import Reader

        if self._history is None:
            raise StoreError("The history is not open yet.", hint="Try again in a moment.")
        return Reader(self._history, without_ignored=True)

    def _call(self, call: _Call) -> None:
        self._calls.append(call)
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has just ended, and nothing is done any more
                self._loop.call_soon_threadsafe(self._wake)

    # ------------------------------------------------------------ the node's thread

    def _main(self) -> None:
        ended = Ended()
        try:
            with self._open_profile(self._asking) as profile:
                self._history = profile.history
                if not self._stop_asked:
                    asyncio.run(self._live(profile))
        except SandpiperError as exc:
            log.info("the node has ended: %s", exc.sentence())
            ended = Ended(exc.sentence(), exc.exit_code)
        except BaseException as exc:
            from sandpiper.faces.sentences import failed

            log.critical("a mistake of ours", exc_info=exc)
            ended = Ended(failed(exc, self._settings.log_file), 1)
        self.ended = ended
        self._put((ended,))

    def _put(self, updates: tuple[Update, ...]) -> None:
        try:
            self._tell(updates)
        except RuntimeError:  # the screen's loop is closed: nobody is there to see it
            log.debug("not shown any more: %d updates", len(updates))

    def _wake(self) -> None:
        """On the loop: there are calls."""
        self._called.set()
        if self._stop_asked and not self._stopping.done():
            self._stopping.set_result(None)

    async def _live(self, profile: Profile) -> None:
        from sandpiper.faces.incode import check_start, start_in
        from sandpiper.faces.onhubs import Given
        from sandpiper.faces.people import PLAIN_ROOM_NAME, People
        from sandpiper.faces.tui.telling import Telling
        from sandpiper.net.hub import parse_hub
        from sandpiper.node import Node

        loop = asyncio.get_running_loop()
        self._called, self._stopping = asyncio.Event(), loop.create_future()
        self._loop = loop
        self._wake()  # what was asked for before there was a loop
        failed: asyncio.Future[None] = loop.create_future()

        def unhandled(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
            """A timer of ours failed: it must not be lost in a log."""
            exc = context.get("exception")
            if isinstance(exc, Exception) and "handle" in context and not failed.done():
                failed.set_exception(exc)
            else:
                loop.default_exception_handler(context)

        loop.set_exception_handler(unhandled)
        check_start(self._settings.room)
        node = Node(profile.identity, profile.nick, profile.history, self._node_settings())
        early: list[NodeNotice] = []  # what happens before there is a room to start in

        def before(notice: NodeNotice) -> None:
            early.append(notice)
            if isinstance(notice, MeetingNews) and notice.code == "joining":
                self._put((Joining(notice.text),))

        hear = before
        node.subscribe(lambda notice: hear(notice))
        async with node:
            if node.settings.plain:
                node.join(PLAIN_ROOM_NAME)  # the old dialect knows no other
            room = start_in(node, People(node), self._settings.room)
            if self._settings.hub:
                room = node.connect_hub(parse_hub(self._settings.hub))
            if self._settings.entering is not None:
                entered = await self._entered(node, self._settings.entering)
                self._put((Joining(""),))
                if entered is None:  # somebody ended this first
                    return
                room = entered
            given = Given(self._settings.password, self._settings.hub)
            telling = Telling(node, profile, self._put, quiet=self._settings.quiet)

            def heard(notice: NodeNotice) -> None:
                if not (isinstance(notice, PasswordWanted) and given.used(node, notice)):
                    telling.notice(notice)

            hear = heard
            for notice in early:
                heard(notice)
            telling.arrived()
            await telling.begin(room)
            await self._work(node, profile, telling, failed)

    async def _entered(self, node: Node, entering: Entering) -> RoomId | None:
        """The private room to begin in, once we are in it; None: it is ended before that.

        Raises:
            SandpiperError: it could not be made, or did not let us in.
        """
        from sandpiper.faces.incode import enter

        entry = asyncio.create_task(enter(node, entering, self._room_password), name="enter")
        try:
            await asyncio.wait((entry, self._stopping), return_when=asyncio.FIRST_COMPLETED)
            return entry.result() if entry.done() else None
        finally:
            entry.cancel()
            await asyncio.gather(entry, return_exceptions=True)

    async def _room_password(self, wanted: CodePassword) -> str:
        """What the person types; nothing of the node waits for it."""
        self._put((Joining(""),))
        return await asyncio.to_thread(self._asking.password, wanted)

    async def _work(self, node: Node, profile: Profile, telling: Telling, failed: asyncio.Future[None]) -> None:
        """Do what is asked for and tell what happens, until somebody or something ends it."""
        from sandpiper.faces.context import Context
        from sandpiper.faces.tui.answering import CommandFace

        face = CommandFace(telling, self.stop)
        context = Context(node, profile, telling.people, face)
        converse = asyncio.create_task(self._converse(node, context, face, telling), name="converse")
        tell = asyncio.create_task(telling.run(), name="tell")
        others = [
            asyncio.create_task(telling.keep_time(), name="keep time"),
            asyncio.create_task(node.finished(), name="node finished"),
        ]
        watched = (converse, tell, *others, failed)
        try:
            await asyncio.wait((*watched, self._stopping), return_when=asyncio.FIRST_COMPLETED)
            if self._stopping.done() and not any(one.done() for one in watched):
                await asyncio.wait((converse,), timeout=LAST_SECONDS)
            for one in watched:
                if one.done():
                    one.result()
            telling.leave()
            telling.save()
            telling.end()
            await tell
        finally:
            telling.leave()
            for task in (converse, tell, *others, *self._underway):
                task.cancel()
            await asyncio.gather(converse, tell, *others, *self._underway, return_exceptions=True)
            failed.cancel()
            telling.close()

    async def _converse(self, node: Node, context: Context, face: CommandFace, telling: Telling) -> None:
        """Do what the screen asks for, in its order, until it asks for the end."""
        while True:
            while not self._calls:
                self._called.clear()
                await self._called.wait()
            call = self._calls.popleft()
            try:
                match call:
                    case _Obey(room=room, text=text):
                        face.typed_in(room)
                        await self._patiently(asyncio.create_task(self._obey(context, telling, text), name="obey"))
                    case _Look(room=room, focused=focused):
                        face.shown(room)
                        telling.look(room, focused=focused)
                    case _Read(room=room, place=place):
                        telling.read(room, place)
                    case _Typing(room=room):
                        if node.room(room) is not None:
                            node.typing(room)
                    case _Verify(key=key, verified=verified):
                        node.trust.verify(key, verified=verified)
                        telling.changed()
                    case _Unlock(wanted=wanted, password=password):
                        if isinstance(wanted, CodePassword):
                            joins = self._join(context, telling, wanted, password)
                            await self._patiently(asyncio.create_task(joins, name="join"))
                        else:
                            face.unlock(node, wanted, password)
                    case _OpenDirect(key=key):
                        telling.open_direct(key)
                    case _Stop():
                        return
                    case _:
                        assert_never(call)
            except SandpiperError as exc:
                telling.trouble(None, str(exc), exc.hint)

    async def _patiently(self, task: asyncio.Task[None]) -> None:
        """Let a command end before the next one begins, unless it waits for somebody far away."""
        self._underway.add(task)
        task.add_done_callback(self._underway.discard)
        await asyncio.wait((task,), timeout=PATIENCE_SECONDS)
        if task.done():
            task.result()
        else:
            task.add_done_callback(self._late)

    def _late(self, task: asyncio.Task[None]) -> None:
        """A command that took long has ended: a mistake of ours in it must not be lost."""
        if not task.cancelled() and (exc := task.exception()) is not None:
            told = {"message": "a command failed", "exception": exc, "handle": task}
            asyncio.get_running_loop().call_exception_handler(told)

    async def _obey(self, context: Context, telling: Telling, text: str) -> None:
        from sandpiper.faces.commands import execute

        if not text.strip():
            return
        room = context.face.room
        try:
            await execute(context, text)
        except SandpiperError as exc:
            telling.trouble(room, str(exc), exc.hint)
            telling.tell(NotDone(room, text))
        telling.arrived()
        telling.changed()
        await asyncio.sleep(0)  # many lines at once must not keep links from being served

    async def _join(self, context: Context, telling: Telling, wanted: CodePassword, password: Secret | None) -> None:
        """The password of a code's room was typed, or (None) rather not."""
        from sandpiper.faces.incode import join

        room = context.face.room
        try:
            if password is None:
                telling.trouble(room, "You stay outside.", "To be asked again: /join and the code")
            else:
                await join(context, wanted.code, password.text)
        except SandpiperError as exc:
            telling.trouble(room, str(exc), exc.hint)
        telling.arrived()
        telling.changed()
