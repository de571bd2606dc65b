"""Private rooms by code: making one and its codes, and coming into one, over the LAN or a relay."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from typing import TYPE_CHECKING

from sandpiper.core.events import EnterPrivate
from sandpiper.core.floor import ALL, check_policy
from sandpiper.core.private import PrivateRoom, begin_room
from sandpiper.crypto.codes import ENTROPY_BYTES, Code, make_code
from sandpiper.crypto.pake import stretch
from sandpiper.crypto.rooms import NO_SECRET, ROOM_SECRET_BYTES, RoomSecret
from sandpiper.errors import LinkError, UsageError
from sandpiper.node.notices import CodeMade, moment
from sandpiper.node.wayin import WayIn
from sandpiper.wire.admission import CODE_ID_BYTES
from sandpiper.wire.limits import SALT_BYTES

if TYPE_CHECKING:
    from sandpiper.core.mesh import Mesh
    from sandpiper.crypto.identity import Identity
    from sandpiper.net.links import Links
    from sandpiper.net.relays import RelayAddress
    from sandpiper.node.meeting import Meetings
    from sandpiper.node.runner import Runner
    from sandpiper.wire.ids import RoomId

log = logging.getLogger(__name__)

LAN_NAMEPLATE = 1000, 9999  # drawn where nobody gives nameplates out: two rooms of one network seldom have the same
MAX_PASSWORD_CHARS = 256  # as long as a sentence


class Codes:
    """What a face does with codes."""

    def __init__(self, identity: Identity, run: Runner, links: Links, mesh: Mesh, meetings: Meetings) -> None:
        self._identity = identity
        self._run = run
        self._links = links
        self._mesh = mesh
        self._meetings = meetings
        self._joining: set[str] = set()  # nameplates that a way in is being looked for

    @property
    def relays(self) -> tuple[RelayAddress, ...]:
        """The relays of the settings."""
        return self._meetings.relays

    def reached(self) -> tuple[tuple[str, bool], ...]:
        """The relays in use, and whether they answer."""
        return tuple((place.shown, place.up) for place in self._meetings.views())

    @property
    def mapping(self) -> str:
        """Whether the router passes a port on to us, and why, in a sentence; empty: it is not to be asked."""
        return self._meetings.mapping.reason if self._meetings.mapping is not None else ""

    async def create(self, name: str, password: str = "", history: str = ALL) -> RoomId:
        """Make a private room of this name, and its first code, which is told as `CodeMade`. Nothing is made when no
        relay can be reached. `history` is what newcomers are given of it: all, none, 100 (entries) or 7d (days).

        Raises:
            LinkError: none of the relays can be reached.
            UsageError: the password cannot be one, or `history` is no such thing.
            StoreError: the disk failed.
        """
        check_password(password)
        history = check_policy(history)
        salt = os.urandom(SALT_BYTES)
        lock = RoomSecret(await asyncio.to_thread(stretch, password, salt)) if password else NO_SECRET
        relay, nameplate = await self._nameplate(self._meetings.relays)
        genesis = begin_room(self._identity, name, salt, moment().wall_ms, history=history)
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
            relay=relay.spelled if relay is not None else "",
            after=private.roster.acts.newest(),
        )
        self._run.admission(opened)
        self._run.tell(CodeMade(room, code, relay.spelled if relay is not None else ""))

    async def join(self, code: Code, password: str = "") -> RoomId:
        """Come into the room of a code: whoever answers is found on this network or through a relay, and the link to
        them stays. What happens on the way is told as `MeetingNews`.

        Raises:
            NotAdmitted: the code or the password is wrong, or the room lets us not in; the sentence says why.
            LinkError: nobody was found, or no relay could be reached.
            UsageError: we are coming in with a code of this number already, or the password cannot be one.
            SandpiperError: what came is not the room, or could not be kept.
        """
        check_password(password)
        if code.nameplate in self._joining:
            raise UsageError(
                f"You are coming in with the code of number {code.nameplate} already.",
                hint="It takes a minute at most.",
                code="joining",
            )
        self._joining.add(code.nameplate)
        try:
            return await WayIn(self._identity, self._run, self._links, self._mesh, self._meetings, code, password).go()
        finally:
            self._joining.discard(code.nameplate)


def check_password(password: str) -> None:
    """Raises: UsageError: it is too long to be a room's password."""
    if len(password) > MAX_PASSWORD_CHARS:
        raise UsageError(f"A password has at most {MAX_PASSWORD_CHARS} characters.", code="usage")
