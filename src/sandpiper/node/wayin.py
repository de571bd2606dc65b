"""The joiner's side of a code: finds a member on the LAN or through a relay, and comes into the room."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from typing import TYPE_CHECKING

from sandpiper.core.events import EnterPrivate
from sandpiper.core.joining import GaveUp, Joined, Joining, TryNow
from sandpiper.core.joining import Say as Answer
from sandpiper.core.private import PrivateRoom
from sandpiper.crypto.rooms import RoomSecret
from sandpiper.crypto.signing import open_records
from sandpiper.errors import LinkError, RemoteProtocolError, SandpiperError
from sandpiper.net.secure import secure_as_joiner
from sandpiper.net.tcp import dial
from sandpiper.node.meeting import no_relay
from sandpiper.node.notices import MeetingNews
from sandpiper.wire.admission import (
    JoinFrame,
    NotAdmitted,
    Settled,
    Unproven,
    decode_admission,
    encode_admission,
)
from sandpiper.wire.frames import BadFrame
from sandpiper.wire.ids import RoomId
from sandpiper.wire.meeting import BRIDGE_TOKEN_BYTES, CrossWith, encode_code_signal

if TYPE_CHECKING:
    from sandpiper.core.events import PathKind
    from sandpiper.core.joining import JoinEffect
    from sandpiper.core.mesh import Mesh
    from sandpiper.crypto.codes import Code
    from sandpiper.crypto.identity import Identity
    from sandpiper.net.link import Pipe
    from sandpiper.net.links import Links
    from sandpiper.net.secure import SecureLink
    from sandpiper.node.meeting import Meetings, Place
    from sandpiper.node.runner import Runner

log = logging.getLogger(__name__)

LAN_SECONDS = 3.0  # who is on this network has been found by then
LAN_DIAL_SECONDS = 1.5  # a peer of this network that takes longer does not hold up the others
LAN_ASKS = 8  # of them asked before it is the relay's turn
ANSWER_SECONDS = 3.0  # for a member at a rendezvous to say that it answers: two ways through it


class NoWay(LinkError):
    """There is no relay to ask, and nobody on this network knows the code."""

    code = "no_relay"


class NobodyYet(LinkError):
    """Nobody has answered for a code so far; it is tried again."""

    code = "nobody"


class WayIn:
    """One way: make it, then `go`."""

    def __init__(
        self,
        identity: Identity,
        run: Runner,
        links: Links,
        mesh: Mesh,
        meetings: Meetings,
        code: Code,
        password: str,
    ) -> None:
        self._identity = identity
        self._run = run
        self._links = links
        self._mesh = mesh
        self._meetings = meetings
        self._code = code
        self._password = password
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._places: list[Place] = []
        self._strangers: set[tuple[str, int]] = set()  # peers of this network that do not know the code
        self._turn = self._asked = 0
        self._link: SecureLink | None = None
        self._relay = ""  # through which the link goes

    async def go(self) -> RoomId:
        """Until it ends well or not."""
        nameplate = self._code.nameplate
        for relay in self._meetings.relays:
            place = self._meetings.place(relay)
            place.sought[nameplate] = {}
            place.refused.discard(nameplate)
            self._places.append(place)
        self._meetings.look()
        joining = Joining(self._run.nick, random.SystemRandom(), self._loop.time())
        try:
            effects = joining.tick(self._loop.time())
            while True:
                effects, room = await self._carry_out(joining, effects)
                if room is not None:
                    return room
                if not effects:
                    due = joining.deadline()
                    await asyncio.sleep(max(0.0, (due or 0.0) - self._loop.time()))
                    effects = joining.tick(self._loop.time())
        finally:
            for place in self._places:
                place.sought.pop(nameplate, None)
                place.refused.discard(nameplate)
            self._meetings.look()
            if self._link is not None:
                self._link.abort()

    async def _carry_out(self, joining: Joining, effects: list[JoinEffect]) -> tuple[list[JoinEffect], RoomId | None]:
        """What comes next; the room once we are in it."""
        for effect in effects:
            match effect:
                case TryNow():
                    try:
                        self._link = await self._reach()
                    except SandpiperError as exc:
                        if isinstance(exc, LinkError):
                            self._give_up_early()
                        return joining.tried(exc, self._loop.time()), None
                    self._step("key agreed; the member answers for the room.")
                    return joining.proven(self._link.peer, self._loop.time()), None
                case Answer(frame=frame) if self._link is not None:
                    self._link.offer(encode_admission(frame))
                    if not isinstance(frame, Settled):
                        return await self._heard(joining), None
                case Joined():
                    return [], await self._entered(effect)
                case GaveUp(error=error):
                    raise error
                case _:
                    pass
        return [], None

    async def _heard(self, joining: Joining) -> list[JoinEffect]:
        """Frames of the member, until something follows from them."""
        assert self._link is not None
        while True:
            try:
                async with asyncio.timeout_at(joining.deadline()):
                    frame = decode_admission(await self._link.receive())
                if not isinstance(frame, JoinFrame):
                    raise BadFrame("A member sent something else than an admission.")
            except TimeoutError:
                return joining.tick(self._loop.time())
            except (LinkError, RemoteProtocolError) as exc:
                return joining.lost(exc)
            if effects := joining.received(frame, self._loop.time()):
                return effects

    async def _entered(self, joined: Joined) -> RoomId:
        """We are let in: see that it is the room that was named, and be in it."""
        link, self._link = self._link, None
        assert link is not None
        try:
            room = RoomId(joined.admitted.room)
            records = open_records(joined.records, room)
            looked = PrivateRoom(room, self._identity.key)
            looked.enact(records)
            if not looked.roster.admits(self._identity.key):
                raise NotAdmitted("failed")
            secret, lock = RoomSecret(joined.admitted.secret), RoomSecret(joined.admitted.lock)
            self._run.do(EnterPrivate(room, records, secret, lock, self._relay or self._known_at()))
        except BaseException:
            link.abort()
            raise
        self._links.adopt(link)
        return room

    def _known_at(self) -> str:
        """The first relay that knows the code, too: the members meet there."""
        nameplate = self._code.nameplate
        return next((place.relay.spelled for place in self._places if nameplate in place.inside), "")

    def _step(self, text: str) -> None:
        self._run.tell(MeetingNews("joining", f"Joining: {text}"))

    # ------------------------------------------------------------ finding somebody who answers

    async def _reach(self) -> SecureLink:
        """A link to somebody who knows the code as well.

        Raises:
            SandpiperError: not this time; `Joining.tried` says whether it is over.
        """
        for address in self._near():
            if (link := await self._ask(*address)) is not None:
                return link
        answering = [(place, peer) for place in self._places for peer in place.sought[self._code.nameplate]]
        if not answering and self._places:
            self._meetings.look()
            await self._meetings.moved(ANSWER_SECONDS)
            answering = [(place, peer) for place in self._places for peer in place.sought[self._code.nameplate]]
        if not answering:
            raise NobodyYet("Nobody who knows the code has answered yet.", hint="Is a member online? Then try again.")
        place, peer = answering[self._turn % len(answering)]
        self._turn += 1
        self._step(f"the relay {place.name} is reached, and a member is there.")
        token = os.urandom(BRIDGE_TOKEN_BYTES)
        place.guest.signal(peer, encode_code_signal(CrossWith(token)))
        place.link.carry_out()
        pipe = await place.link.bridge(token)
        link = await self._secured(pipe, "relay")
        self._relay = place.relay.spelled
        return link

    def _near(self) -> list[tuple[str, int]]:
        """Peers of this network that may know the code, each time others first: some of them may be none."""
        found = [address for address in self._mesh.addresses() if address not in self._strangers]
        first = self._asked % len(found) if found else 0
        self._asked += LAN_ASKS
        return (found[first:] + found[:first])[:LAN_ASKS]

    async def _ask(self, host: str, port: int) -> SecureLink | None:
        """A link to a peer of this network, if it knows the code. Whoever does not is told the nameplate alone."""
        try:
            async with asyncio.timeout(LAN_DIAL_SECONDS):
                pipe = await dial(host, port)
        except (LinkError, TimeoutError):
            return None
        try:
            return await self._secured(pipe, "lan")
        except Unproven:
            raise
        except NotAdmitted as exc:
            if exc.code != "no_such_code":
                raise
        except (LinkError, RemoteProtocolError) as exc:
            log.debug("%s does not answer for codes: %s", pipe.address, exc.sentence())
        self._strangers.add((host, port))
        return None

    async def _secured(self, pipe: Pipe, path: PathKind) -> SecureLink:
        return await secure_as_joiner(pipe, self._identity, self._code, self._password, path=path)

    def _give_up_early(self) -> None:
        """Say at once what no waiting will change.

        Raises:
            NoWay, NoRelay, NotAdmitted: there is no way to anybody who knows the code.
        """
        if self._loop.time() < self._begun + LAN_SECONDS:
            return
        if not self._places:
            raise NoWay(
                "Nobody on this network knows a code with this number, and no relay is named.",
                hint="Name the relay that the code was made with: --relay HOST:PORT",
            )
        if all(self._code.nameplate in place.refused for place in self._places):
            raise NotAdmitted("no_such_code")
        if not any(place.up for place in self._places):
            raise no_relay(self._places[0])
