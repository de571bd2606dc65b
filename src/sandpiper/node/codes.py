"""Private rooms by code: making one and its codes, and coming into one, over the LAN or a relay."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import secrets
from typing import TYPE_CHECKING

from sandpiper.core.events import EnterPrivate
from sandpiper.core.joining import GaveUp, Joined, Joining, TryNow
from sandpiper.core.joining import Say as Answer
from sandpiper.core.private import PrivateRoom, begin_room
from sandpiper.crypto.codes import ENTROPY_BYTES, Code, make_code
from sandpiper.crypto.pake import stretch
from sandpiper.crypto.rooms import NO_SECRET, ROOM_SECRET_BYTES, RoomSecret
from sandpiper.crypto.signing import open_records
from sandpiper.errors import LinkError, RemoteProtocolError, SandpiperError, UsageError
from sandpiper.net.secure import secure_as_joiner
from sandpiper.net.tcp import dial
from sandpiper.node.meeting import no_relay
from sandpiper.node.notices import CodeMade, MeetingNews, moment
from sandpiper.wire.admission import (
    CODE_ID_BYTES,
    JoinFrame,
    NotAdmitted,
    Settled,
    Unproven,
    decode_admission,
    encode_admission,
)
from sandpiper.wire.frames import BadFrame
from sandpiper.wire.ids import RoomId
from sandpiper.wire.limits import SALT_BYTES
from sandpiper.wire.meeting import BRIDGE_TOKEN_BYTES, CrossWith, encode_code_signal

if TYPE_CHECKING:
    from sandpiper.core.events import PathKind
    from sandpiper.core.joining import JoinEffect
    from sandpiper.core.mesh import Mesh
    from sandpiper.crypto.identity import Identity
    from sandpiper.net.link import Pipe
    from sandpiper.net.links import Links
    from sandpiper.net.relays import RelayAddress
    from sandpiper.net.secure import SecureLink
    from sandpiper.node.meeting import Meetings, Place
    from sandpiper.node.runner import Runner

log = logging.getLogger(__name__)

LAN_NAMEPLATE = 1000, 9999  # drawn where nobody gives nameplates out: two rooms of one network seldom have the same
LAN_SECONDS = 3.0  # who is on this network has been found by then
LAN_DIAL_SECONDS = 1.5  # a peer of this network that takes longer does not hold up the others
LAN_ASKS = 8  # of them asked before it is the relay's turn
ANSWER_SECONDS = 3.0  # for a member at a rendezvous to say that it answers: two ways through it
MAX_PASSWORD_CHARS = 256  # as long as a sentence


class NoWay(LinkError):
    """There is no relay to ask, and nobody on this network knows the code."""

    code = "no_relay"


class NobodyYet(LinkError):
    """Nobody has answered for a code so far; it is tried again."""

    code = "nobody"


class Codes:
    """What a face does with codes."""

    def __init__(self, identity: Identity, run: Runner, links: Links, mesh: Mesh, meetings: Meetings) -> None:
        self._identity = identity
        self._run = run
        self._links = links
        self._mesh = mesh
        self._meetings = meetings

    @property
    def relays(self) -> tuple[RelayAddress, ...]:
        """The relays of the settings."""
        return self._meetings.relays

    def reached(self) -> tuple[tuple[str, bool], ...]:
        """The relays in use, and whether they answer."""
        return tuple((place.name, place.up) for place in self._meetings.views())

    async def create(self, name: str, password: str = "") -> RoomId:
        """Make a private room of this name, and its first code, which is told as `CodeMade`. Nothing is made when no
        relay can be reached.

        Raises:
            LinkError: none of the relays can be reached.
            UsageError: the password cannot be one.
            StoreError: the disk failed.
        """
        check_password(password)
        relay, nameplate = await self._nameplate(self._meetings.relays)
        salt = os.urandom(SALT_BYTES)
        lock = RoomSecret(await asyncio.to_thread(stretch, password, salt)) if password else NO_SECRET
        genesis = begin_room(self._identity, name, salt, moment().wall_ms)
        secret = RoomSecret(os.urandom(ROOM_SECRET_BYTES))
        where = relay.spelled if relay is not None else ""
        self._run.do(EnterPrivate(genesis.room, (genesis,), secret, lock, where))
        self._issue(genesis.room, nameplate, relay)
        return genesis.room

    async def invite(self, room: RoomId) -> None:
        """Make another code of a private room, which is told as `CodeMade`.

        Raises:
            LinkError: none of the room's relays can be reached.
            UsageError: it is no private room, or we are no member.
        """
        private = self._private(room)
        relay, nameplate = await self._nameplate(self._meetings.relays_of(private))
        self._private(room)  # still
        self._issue(room, nameplate, relay)

    def _private(self, room: RoomId) -> PrivateRoom:
        found = self._run.engine.room(room)
        if not isinstance(found, PrivateRoom):
            raise UsageError(
                "Codes are for private rooms.", hint="To make one: sandpiper create NAME", code="no_private"
            )
        found.check_writes()
        return found

    async def _nameplate(self, relays: tuple[RelayAddress, ...]) -> tuple[RelayAddress | None, str]:
        """A nameplate from the first relay that gives one; without relays, one of our own."""
        if not relays:
            low, high = LAN_NAMEPLATE
            return None, str(low + secrets.randbelow(high - low + 1))
        for relay in relays[:-1]:
            try:
                return relay, await self._meetings.nameplate(relay)
            except LinkError as exc:
                log.info("no code from %s: %s", relay, exc.sentence())
        return relays[-1], await self._meetings.nameplate(relays[-1])

    def _issue(self, room: RoomId, nameplate: str, relay: RelayAddress | None) -> None:
        private = self._private(room)
        code = make_code(nameplate, os.urandom(ENTROPY_BYTES))
        genesis = private.roster.acts.genesis
        salt = genesis.salt if genesis is not None and private.lock else b""
        opened = self._run.codes.issue(
            code,
            room,
            os.urandom(CODE_ID_BYTES),
            moment(),
            salt=salt,
            lock=bytes(private.lock),
            relay=str(relay) if relay is not None else "",
        )
        self._run.admission(opened)
        self._run.tell(CodeMade(room, code, relay.spelled if relay is not None else ""))

    async def join(self, code: Code, password: str = "") -> RoomId:
        """Come into the room of a code: whoever answers is found on this network or through a relay, and the link to
        them stays. What happens on the way is told as `MeetingNews`.

        Raises:
            NotAdmitted: the code or the password is wrong, or the room lets us not in; the sentence says why.
            LinkError: nobody was found, or no relay could be reached.
            SandpiperError: what came is not the room, or could not be kept.
        """
        check_password(password)
        return await _Way(self._identity, self._run, self._links, self._mesh, self._meetings, code, password).go()


def check_password(password: str) -> None:
    """Raises: UsageError: it is too long to be a room's password."""
    if len(password) > MAX_PASSWORD_CHARS:
        raise UsageError(f"A password has at most {MAX_PASSWORD_CHARS} characters.", code="usage")


class _Way:
    """One person's way into one room."""

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
