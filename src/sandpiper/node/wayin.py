"""The joiner's side of a code: finds a member on the LAN or through a relay, and comes into the room."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from sandpiper.core.events import EnterPrivate
from sandpiper.core.floor import ALL
from sandpiper.core.joining import Asked, GaveUp, Joined, Joining, TryNow
from sandpiper.core.joining import Say as Answer
from sandpiper.core.private import PrivateRoom
from sandpiper.crypto.rooms import RoomSecret
from sandpiper.crypto.signing import open_records
from sandpiper.errors import DialFailed, LinkError, LinkTimeout, RemoteProtocolError, SandpiperError
from sandpiper.net.race import drop
from sandpiper.net.rendezvous import BridgePipe
from sandpiper.net.secure import joiners_half, knock, knocking, prove, secure_as_joiner
from sandpiper.net.tcp import dial, format_address
from sandpiper.node.notices import MeetingNews
from sandpiper.node.place import no_relay
from sandpiper.wire.admission import (
    MAX_GUESSES,
    JoinFrame,
    NotAdmitted,
    Settled,
    decode_admission,
    encode_admission,
)
from sandpiper.wire.frames import BadFrame
from sandpiper.wire.ids import RoomId
from sandpiper.wire.meeting import BRIDGE_TOKEN_BYTES, CrossWith, encode_code_signal

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from sandpiper.core.joining import JoinEffect
    from sandpiper.core.mesh import Mesh
    from sandpiper.crypto.codes import Code
    from sandpiper.crypto.identity import Identity
    from sandpiper.crypto.pake import Pake
    from sandpiper.net.links import Links
    from sandpiper.net.secure import Knock, SecureLink
    from sandpiper.node.meeting import Meetings
    from sandpiper.node.place import Place
    from sandpiper.node.runner import Runner

log = logging.getLogger(__name__)
T = TypeVar("T")

LAN_SECONDS = 3.0  # who is on this network has been found by then
LAN_KNOCK_SECONDS = 1.5  # for a peer of this network to say whether it knows the number
LAN_ASKS = 8  # of them at one time
MAX_SILENT = 3  # times that one of them is asked and does not answer
RETURN_SECONDS = 6.0  # for members to come back to a relay that was restarted: before that it knows no numbers
ANSWER_SECONDS = 3.0  # for a member at a rendezvous to say that it answers: two ways through it
OTHERS_SECONDS = 1.0  # for others there, once the first has said no: they have been asked at the same time
BRIDGE_SECONDS = 15.0  # for it to come to the bridge: as long as a dial may take; then another one may do better


class NoWay(LinkError):
    """There is no relay to ask, and nobody on this network knows the code."""

    code = "no_relay"


class NobodyYet(LinkTimeout):
    """Nobody has answered for a code so far; it is tried again, and in the end it took too long."""

    code = "nobody"


class _Way(NamedTuple):
    """A bridge that somebody was asked to come to."""

    whom: str
    over: object
    """The connection over which it was asked: it stops coming when that ends."""
    pipe: asyncio.Task[BridgePipe]
    half: asyncio.Task[Pake] | None
    """As for `prove`."""

    def leave(self) -> None:
        """Nobody is to be there any more, and nothing to be left open."""
        drop(self.pipe, BridgePipe.abort)

    def leads(self, whom: str, over: object) -> bool:
        """True when they may come there yet."""
        failed = self.pipe.done() and (self.pipe.cancelled() or self.pipe.exception() is not None)
        return self.whom == whom and self.over is over and not failed


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
        self._asked = Asked()
        self._knowing: set[str] = set()  # peers of this network that say to know the code
        self._silent: dict[str, int] = {}
        self._turn = 0
        self._shown_near = 0  # times that a peer of this network was shown what it can try one guess on
        self._settled_at = self._begun + LAN_SECONDS  # before that, somebody else may still answer
        self._wrong_far = False  # somebody at a relay says that the words are wrong
        self._ahead: _Way | None = None  # to somebody who has not answered yet
        self._went_ahead = False
        self._link: SecureLink | None = None
        self._relay = ""  # through which the link goes

    async def go(self) -> RoomId:
        """Until it ends well or not."""
        nameplate = self._code.nameplate
        joining = Joining(self._run.nick, random.SystemRandom(), self._loop.time())
        try:
            self._seek()
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
            self._stay_away()
            for place in self._places:
                place.sought.pop(nameplate, None)
                place.refused.discard(nameplate)
            self._meetings.look()
            if self._link is not None:
                self._link.abort()

    def _seek(self) -> None:
        """Have all relays of the settings look for whoever answers for the number."""
        nameplate = self._code.nameplate
        for relay in self._meetings.relays:
            place = self._meetings.place(relay)
            place.sought[nameplate] = {}
            place.refused.discard(nameplate)
            self._places.append(place)
        self._meetings.look()
        for place in self._places:
            place.link.prepare()
        ways = f" and at {', '.join(place.name for place in self._places)}" if self._places else ""
        self._step(f"looking for a member on this network{ways}.")

    async def _carry_out(self, joining: Joining, effects: list[JoinEffect]) -> tuple[list[JoinEffect], RoomId | None]:
        """What comes next; the room once we are in it."""
        for effect in effects:
            match effect:
                case TryNow():
                    try:
                        async with asyncio.timeout_at(joining.deadline()):
                            self._link = await self._reach()
                    except TimeoutError:
                        return joining.tick(self._loop.time()), None
                    except SandpiperError as exc:
                        over = self._over()
                        return joining.tried(over or exc, self._loop.time(), last=over is not None), None
                    self._step("key agreed; the member answers for the room.")
                    return joining.proven(self._link.peer, self._loop.time()), None
                case Answer(frame=frame) if self._link is not None:
                    self._link.offer(encode_admission(frame))
                    if not isinstance(frame, Settled):
                        return await self._heard(joining), None
                case Joined():
                    return [], await self._entered(effect)
                case GaveUp(error=error):
                    raise (self._asked.verdict() or error) if isinstance(error, LinkError) else error
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
            relay = joined.admitted.relay or self._relay
            self._run.do(EnterPrivate(room, records, secret, lock, relay, joined.peer))
        except BaseException:
            link.abort()
            raise
        self._links.adopt(link)
        members = len(looked.roster.ruling.roles)
        self._step(f"let in; #{looked.name} has {members} members.")
        if joined.admitted.history != ALL:
            self._step(f"newcomers get of what was said before: {joined.admitted.history}.")
        return room

    def _step(self, text: str) -> None:
        self._run.tell(MeetingNews("joining", f"Joining: {text}"))

    # ------------------------------------------------------------ finding somebody who answers

    async def _reach(self) -> SecureLink:
        """A link to somebody who knows the code as well. Relays come first: who answers there is in the room that the
        code is of, while on this network any host may answer, and another room's code may have the same number.

        Raises:
            SandpiperError: not this time; `_over` says whether it is over.
        """
        now = self._loop.time()
        if not self._asked.left(self._there()):
            for place in self._places:
                place.refused.discard(self._code.nameplate)  # it may be known by now
            self._meetings.look()
        found = await self._answering(self._settled_at if now < self._settled_at else now + ANSWER_SECONDS)
        if not found:
            self._stay_away()
            if (link := await self._nearby()) is not None:
                return link
            raise self._over() or NobodyYet(
                "Nobody who knows the code has answered yet.", hint="Is a member online? Then try again."
            )
        ahead = self._ahead.whom if self._ahead is not None else ""
        return await self._cross(*next((one for one in found if _at(*one) == ahead), found[0]))

    async def _cross(self, place: Place, peer: str) -> SecureLink:
        """A link to who answers at a relay."""
        self._step(f"the relay {place.shown} is reached, and a member is there.")
        whom = _at(place, peer)
        self._asked.tried(whom)
        way, self._ahead = self._ahead, None
        if way is not None and not way.leads(whom, place.link.way):
            way.leave()
            way = None
        way = way or self._bridge(place, peer)
        try:
            async with asyncio.timeout(BRIDGE_SECONDS):
                pipe = await way.pipe
        except BaseException as exc:
            way.leave()
            if isinstance(exc, LinkError | TimeoutError):
                raise NobodyYet(
                    f"Somebody at the relay {place.shown} says to know the code, and does not come.", hint="Try again."
                ) from exc
            raise
        try:
            link = await self._told(
                whom, secure_as_joiner(pipe, self._identity, self._code, self._password, said=True, half=way.half)
            )
        except NotAdmitted as exc:
            self._wrong_far |= exc.code == "wrong_code"
            self._settled_at = min(self._settled_at, self._loop.time() + OTHERS_SECONDS)
            raise
        self._relay = place.relay.spelled
        return link

    def _bridge(self, place: Place, peer: str) -> _Way:
        """Ask somebody to come to a bridge, and go there."""
        token = os.urandom(BRIDGE_TOKEN_BYTES)
        place.guest.signal(peer, encode_code_signal(CrossWith(token)))
        place.link.carry_out()
        way = place.link.bridge(token, first=knocking(self._code.nameplate))
        half = None if self._password else self._loop.create_task(joiners_half(self._code), name="a joiner's half")
        pipe = self._loop.create_task(way, name=f"bridge at {place.shown}")
        return _Way(_at(place, peer), place.link.way, pipe, half)

    def _go_ahead(self) -> None:
        """Whoever is alone under the number, at the one relay that may know it, answers for it most likely: go to a
        bridge with it while its answer is still on the way, which saves half a round trip to it. Once.
        """
        asked = [place for place in self._places if self._may_answer(place)]
        if self._went_ahead or len(asked) != 1:
            return
        others = asked[0].guest.others(self._code.nameplate)
        if len(others) == 1 and self._asked.left(_at(asked[0], one) for one in others):
            self._went_ahead, self._ahead = True, self._bridge(asked[0], *others)

    def _stay_away(self) -> None:
        """It does not answer."""
        if self._ahead is not None:
            self._ahead.leave()
            self._ahead = None

    async def _told(self, whom: str, way: Coroutine[None, None, T]) -> T:
        """What somebody says; a refusal is remembered as theirs."""
        try:
            return await way
        except (NotAdmitted, RemoteProtocolError) as exc:
            if exc.code != "busy":
                self._asked.refused(whom, exc)
            raise

    def _there(self) -> dict[str, tuple[Place, str]]:
        """Who says to answer for the number at relays."""
        nameplate = self._code.nameplate
        return {_at(place, peer): (place, peer) for place in self._places for peer in place.sought.get(nameplate, ())}

    def _may_answer(self, place: Place) -> bool:
        """Somebody may say so at this relay in a moment."""
        return not place.failures and self._code.nameplate not in place.refused

    async def _answering(self, until: float) -> list[tuple[Place, str]]:
        """Those at relays who have not refused, whom to ask next first. While there is nobody, wait until then."""
        while True:
            there = self._there()
            found = self._asked.left(there)
            left = until - self._loop.time()
            if found or left <= 0 or not any(map(self._may_answer, self._places)):
                return [there[one] for one in found]
            self._go_ahead()
            await self._meetings.moved(left)

    # ------------------------------------------------------------ on this network

    async def _nearby(self) -> SecureLink | None:
        """A link to a peer of this network, if one knows the code. Who does not is told the nameplate alone; who says
        to know it is shown what it can try one guess on, while relays may answer only once.
        """
        answered: list[tuple[str, Knock]] = []
        try:
            await asyncio.gather(*(self._knock(*address, answered) for address in self._near()))
            while answered and self._shown_near < self._most_near():
                whom, knocked = answered.pop(0)
                self._asked.tried(whom)
                self._shown_near += 1
                try:
                    return await self._told(
                        whom, prove(knocked, self._identity, self._code, self._password, path="lan")
                    )
                except NotAdmitted as exc:
                    if exc.code == "wrong_code":
                        raise
                    self._shown_near -= 1  # it said no before that
        finally:
            for _, knocked in answered:
                knocked.pipe.abort()
        return None

    def _most_near(self) -> int:
        """How often the words may be put to the proof on this network: at a relay they are put to it as well, and the
        members there may be those that are here.
        """
        if self._wrong_far:
            return 0
        return 1 if any(map(self._may_answer, self._places)) else MAX_GUESSES

    def _near(self) -> list[tuple[str, int]]:
        """Peers of this network that may know the code, each time others first: some of them may be none."""
        by_name = {format_address(*address): address for address in self._mesh.addresses()}
        left = self._asked.left(one for one in by_name if self._silent.get(one, 0) < MAX_SILENT)
        first = self._turn % len(left) if left else 0
        self._turn += LAN_ASKS
        return [by_name[one] for one in (left[first:] + left[:first])[:LAN_ASKS]]

    async def _knock(self, host: str, port: int, answered: list[tuple[str, Knock]]) -> None:
        whom = format_address(host, port)
        try:
            async with asyncio.timeout(LAN_KNOCK_SECONDS):
                pipe = await dial(host, port)
                answered.append((whom, await self._told(whom, knock(pipe, self._code.nameplate))))
            self._knowing.add(whom)
        except DialFailed:
            pass
        except (LinkError, TimeoutError):
            self._silent[whom] = self._silent.get(whom, 0) + 1
        except (NotAdmitted, RemoteProtocolError) as exc:
            log.debug("%s does not let us in: %s", whom, exc.sentence())
            if exc.code == "busy":
                self._knowing.add(whom)

    # ------------------------------------------------------------ when it is over

    def _over(self) -> SandpiperError | None:
        """Why no waiting will change anything; None: it may."""
        knowing = (*self._there(), *(() if self._wrong_far else self._knowing))
        if self._loop.time() < self._settled_at or self._asked.left(knowing):
            return None
        if any(silent < MAX_SILENT for silent in self._silent.values()):
            return None
        if self._loop.time() < self._begun + RETURN_SECONDS and any(
            self._code.nameplate in place.refused for place in self._places
        ):
            return None
        if any(self._may_answer(place) and not place.sought.get(self._code.nameplate) for place in self._places):
            return None  # nobody has answered there so far
        if (verdict := self._asked.verdict()) is not None and (self._places or verdict.code != "no_such_code"):
            return verdict
        if not self._places:
            return NoWay(
                "Nobody on this network knows a code with this number, and no relay is named.",
                hint="Name the relay that the code was made with: --relay HOST:PORT",
            )
        away = [place for place in self._places if place.failures]
        return no_relay(away[0]) if away else NotAdmitted("no_such_code")


def _at(place: Place, peer: str) -> str:
    return f"{peer} at {place.name}"
