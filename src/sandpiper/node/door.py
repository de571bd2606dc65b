"""The member's side of a join: answers whoever comes with a code, and lets in who knows it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from sandpiper.core.admission import ASK_SECONDS, Decline, Let
from sandpiper.core.events import Post
from sandpiper.core.joining import ADMIT_SECONDS
from sandpiper.core.private import PrivateRoom
from sandpiper.crypto.pake import load
from sandpiper.errors import LinkError, LinkTimeout, RemoteProtocolError, SandpiperError, StoreError, UsageError
from sandpiper.net.relays import names
from sandpiper.net.secure import ahead, secure_as_member
from sandpiper.node.notices import moment
from sandpiper.wire.admission import (
    Admitted,
    Asks,
    Declined,
    NotAdmitted,
    Roster,
    decode_admission,
    encode_admission,
    rosters,
)
from sandpiper.wire.frames import BadFrame
from sandpiper.wire.records import Admit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sandpiper.core.admission import AdmissionEffect, Attempt
    from sandpiper.core.events import PathKind
    from sandpiper.crypto.identity import Identity
    from sandpiper.net.link import Pipe
    from sandpiper.net.relays import RelayAddress
    from sandpiper.net.secure import Ahead, SecureLink
    from sandpiper.node.runner import Runner
    from sandpiper.wire.ids import PeerKey, RoomId

log = logging.getLogger(__name__)

COME_SECONDS = 15.0  # for a joiner to be at its bridge, as long as its dial may take: the code is busy meanwhile
FULL_SECONDS = 0.05  # before a roster goes on that was more than the other side could take: it may have 8 MiB


class Door:
    """Where joiners knock, over the LAN (`sandpiper.net.links.CodeDialect`) or a bridge."""

    def __init__(self, identity: Identity, run: Runner) -> None:
        self._identity = identity
        self._run = run
        self._knocking: dict[int, SecureLink] = {}
        self._loading: asyncio.Future[None] | None = None
        run.declined = self._declined

    def prepare(self) -> None:
        """A joiner may be on its way: have ready what the first one would wait for."""
        if self._loading is None:
            self._loading = asyncio.get_running_loop().run_in_executor(None, load)

    async def across(
        self, nameplate: str, relay: RelayAddress, bridge: Callable[[bytes], Awaitable[Pipe]]
    ) -> tuple[SecureLink, RoomId] | None:
        """As `serve`, for a joiner who has asked for a bridge at a relay under this nameplate. `bridge(first)` makes
        it, and says `first` there: our answer, so that the joiner does not wait for it to come to its opening.

        Raises:
            LinkError, RemoteProtocolError: there is no bridge.
        """
        answering = _Answering(self._run, relay)
        try:
            answered = await ahead(answering, nameplate)
        except NotAdmitted:
            answered = None  # it is told at the bridge
        try:
            async with asyncio.timeout(COME_SECONDS):
                pipe = await bridge(answered.said if answered is not None else b"")
        except BaseException as exc:
            if answered is not None:
                answering.ended(answered.attempt)
            if isinstance(exc, TimeoutError):
                raise LinkTimeout("A joiner did not come to the bridge that it had asked for.") from exc
            raise
        return await self.serve(pipe, path="relay", relay=relay, number=nameplate, answered=answered)

    async def serve(
        self,
        pipe: Pipe,
        already: bytes = b"",
        *,
        path: PathKind = "lan",
        relay: RelayAddress | None = None,
        number: str = "",
        answered: Ahead | None = None,
    ) -> tuple[SecureLink, RoomId] | None:
        """The link to somebody who knew the code, ready for what all links carry, and the room that it was let into;
        None: it came to nothing, and the pipe is closed. `relay` is through which the joiner came; None: through none.
        `number` and `answered` as for `secure_as_member`. That the joiner has all (`Settled`) is not waited for.
        """
        try:
            link, attempt = await secure_as_member(
                pipe, self._identity, _Answering(self._run, relay), already, path=path, number=number, answered=answered
            )
        except (LinkError, RemoteProtocolError, NotAdmitted) as exc:
            log.info("a joiner at %s got nowhere: %s", pipe.address, exc.code)
            pipe.abort()
            return None
        self._knocking[attempt.number] = link
        try:
            if (room := await self._admitted(link, attempt)) is not None:
                return link, room
        except (LinkError, RemoteProtocolError, TimeoutError) as exc:
            log.info("a joiner at %s was lost: %s", pipe.address, type(exc).__name__)
        except BaseException:
            link.abort()
            raise
        finally:
            self._knocking.pop(attempt.number, None)
            self._run.codes.ended(attempt)
        with contextlib.suppress(LinkError):
            await link.close()
        return None

    async def _admitted(self, link: SecureLink, attempt: Attempt) -> RoomId | None:
        async with asyncio.timeout(ASK_SECONDS):
            asked = decode_admission(await link.receive())
        if not isinstance(asked, Asks):
            raise BadFrame("A joiner said something else than who it is.")
        answer = self._run.codes.asked(attempt, asked, moment())
        match answer:
            case [Let() as let]:
                if (declined := await self._let(link, let)) is None:
                    return let.room
            case [Decline(frame=declined)]:
                pass
            case _:
                declined = Declined("failed")
        link.offer(encode_admission(declined))
        return None

    async def _let(self, link: SecureLink, let: Let) -> Declined | None:
        """Sign its admission and give it what it needs; or why not."""
        run = self._run
        room = run.engine.room(let.room)
        if not isinstance(room, PrivateRoom):
            return Declined("failed")
        try:
            if not room.roster.admits(let.peer):
                run.do(Post(let.room, Admit(let.peer, let.nick)))
        except UsageError:
            return Declined("failed")
        except StoreError as exc:
            run.problem(exc.code, str(exc), exc.hint)
            return Declined("failed")
        # Made now: what changes in the roster meanwhile is told on the link that this is to become.
        await _offered(link, Admitted(let.room, bytes(room.secret), room.history, bytes(room.lock), room.relay))
        for frame in tuple(rosters(run.engine.roster_records(let.room))):
            await _offered(link, frame)
        await _until(link, lambda: not link.pending)  # a live link that is full is closed
        return None

    def _declined(self, decline: Decline) -> None:
        """Nobody waits for a joiner any more."""
        link = self._knocking.pop(decline.attempt, None)
        if link is not None:
            link.offer(encode_admission(decline.frame))
            link.abort()


async def _offered(link: SecureLink, frame: Admitted | Roster) -> None:
    """Send a frame, once the other side has taken enough of those before. Raises as `_until`."""
    raw = encode_admission(frame)
    await _until(link, lambda: link.offer(raw))


async def _until(link: SecureLink, done: Callable[[], bool]) -> None:
    """Wait for the other side to take what is on its way to it.

    Raises:
        LinkTimeout: it takes nothing any more.
    """
    for _ in range(round(ADMIT_SECONDS / FULL_SECONDS)):
        if done():
            return
        await asyncio.sleep(FULL_SECONDS)
    raise LinkTimeout(f"{link.address} does not take the roster.")


class _Answering:
    """`Answerer`: the codes of a node, with the time put in, for joiners that came one way."""

    def __init__(self, run: Runner, relay: RelayAddress | None) -> None:
        self._run = run
        self._relay = relay

    def begin(self, nameplate: str) -> Attempt:
        """See `Answerer`."""
        relay = self._relay
        return self._run.codes.begin(nameplate, moment(), lambda at: relay is None or not at or names(at, relay))

    def judge(self, attempt: Attempt) -> None:
        """See `Answerer`."""
        self._run.codes.judge(attempt, moment())

    def wrong(self, attempt: Attempt) -> None:
        """See `Answerer`."""
        self._perform(self._run.codes.wrong(attempt, moment()))

    def proven(self, attempt: Attempt, peer: PeerKey) -> None:
        """See `Answerer`."""
        self._perform(self._run.codes.proven(attempt, peer, moment()))

    def ended(self, attempt: Attempt) -> None:
        """See `Answerer`."""
        self._run.codes.ended(attempt)

    def _perform(self, effects: list[AdmissionEffect]) -> None:
        try:
            self._run.admission(effects)
        except SandpiperError as exc:
            log.warning("codes: %s", exc.sentence())
