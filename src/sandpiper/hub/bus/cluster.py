"""A hub's place in its cluster: carries out what the house's order asks of it, and tells what comes of it."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, assert_never

import msgspec

from sandpiper.hub.bus.away import BusAway
from sandpiper.hub.bus.link import Link
from sandpiper.hub.bus.log import HOUSE, VERSION, BadLog, Begun, encode, token
from sandpiper.hub.bus.nicks import MAX_HUBS, RENEW_SECONDS, Nicks, Ousted, decode
from sandpiper.hub.bus.pages import BusHistory
from sandpiper.hub.bus.replicated import Replicated
from sandpiper.hub.bus.rooms import AGAIN_SECONDS, RoomLog
from sandpiper.hub.bus.telling import BEAT_SECONDS, Telling
from sandpiper.hub.effects import Amend, Claim, ForCluster, Open, Propose, Release, Save, Share, Shut
from sandpiper.wire.hub import LOBBY
from sandpiper.wire.hub.answers import Notice
from sandpiper.wire.text import check_room_name

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from nats.aio.msg import Msg

    from sandpiper.hub.bus.embedded import EmbeddedServer
    from sandpiper.hub.bus.link import BusSettings
    from sandpiper.hub.bus.rooms import Hall
    from sandpiper.hub.guests import Guest
    from sandpiper.wire.hub.asks import Join
    from sandpiper.wire.ids import PeerKey

log = logging.getLogger(__name__)

AWAY_SECONDS = 3.0  # without the bus after which nothing more is taken; shorter breaks nobody need notice
BEHIND_BYTES = 1024 * 1024  # waiting for the bus from which on guests are read less: two messages of the log
LOOK_SECONDS = 30.0  # between two looks into each log, for what a server may have failed to tell
DRAIN_SECONDS = 3.0  # for what was said before the hub ends
BEGIN_TRIES = 3
AWAY = "The hub cannot reach its cluster now, so nothing can be said; it tries again all the time."
BACK = "The hub has reached its cluster again."
TRY_AGAIN = "The hub cannot ask its cluster now; try again later."


class Cluster:
    """From `open` to `aclose`. `order` and `history` are for the hub's chat."""

    def __init__(self, settings: BusSettings, server: EmbeddedServer | None = None) -> None:
        """`server` is the hub's own; it is ended with the cluster."""
        self._server = server
        self.order = Replicated(secrets.token_hex(6))
        self.link = Link(settings, self._changed)
        self.nicks = Nicks(self.order.hub, self.link, self._is_ours)
        self.history = BusHistory(self)
        self._hall: Hall
        self._telling: Telling
        self._logs: dict[str, RoomLog] = {}
        self._opening: dict[str, list[tuple[Guest, Join]]] = {}
        self._shutting: dict[str, None] = {}
        self._saving: set[str] = set()
        self._claiming: set[int] = set()
        self._away: asyncio.TimerHandle | None = None
        self._tasks: asyncio.TaskGroup
        self._life: asyncio.Task[None] | None = None

    # ------------------------------------------------------------ life

    async def open(self) -> None:
        """Connect.

        Raises:
            ConfigError: the bus cannot be used like that.
            BusAway: it does not answer.
        """
        await self.link.open()
        await self.nicks.begin()

    async def start(self, hall: Hall) -> None:
        """Follow the lobby, and take part.

        Raises:
            BusAway: the bus does not answer.
            BadLog: it has something that cannot be read.
        """
        self._hall = hall
        house = hall.house
        house.guests.base = self.nicks.slot << 48 | secrets.randbits(15) << 32
        house.guests.anonymous = (self.nicks.slot, MAX_HUBS)
        ready = asyncio.Event()
        self._life = asyncio.create_task(self._live(ready), name="hub bus")
        await ready.wait()
        self._telling = Telling(hall, self.order, self.link, self._begin)
        await self._telling.open()
        await self.link.listen(self.link.names.to(self.order.hub), self._told)
        await self._telling.beat()
        await self._follow(HOUSE)
        house.drop(house.rooms[LOBBY])
        await self._follow(LOBBY)
        for _ in range(BEGIN_TRIES):
            if LOBBY in house.rooms:
                break
            begun = Begun(0, b"", secrets.token_hex(5), b"")
            self._logs[LOBBY].propose(begun)
            await self._logs[LOBBY].resting.wait()
            await self._logs[LOBBY].catch_up()
        else:
            raise BusAway("The cluster's lobby cannot be opened.")
        for task, name in (
            (self._beat(), "beat"), (self._renew(), "lease"), (self._look(), "look"),
            (self.nicks.keep_releasing(), "releases"),
        ):  # fmt: skip
            self._begin(task, f"bus {name}")

    @property
    def life(self) -> asyncio.Future[None]:
        """Ends when the hub does not take part any more: by `aclose`, or by a mistake of ours."""
        assert self._life is not None
        return self._life

    async def _live(self, ready: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            ready.set()
            await asyncio.Event().wait()  # until it is cancelled

    def _begin(self, what: Coroutine[None, None, None], name: str) -> None:
        task = self._tasks.create_task(what, name=name)
        task.add_done_callback(_ended)

    async def drain(self) -> None:
        """Until what was said is in the log, if the bus takes it."""
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                for one in tuple(self._logs.values()):
                    await one.resting.wait()
                await asyncio.gather(*(one.look() for one in self._logs.values()))
        except TimeoutError:
            log.warning("what was said last may not be in the cluster's log: the bus has not taken it in time")

    def afterwards(self, do: Callable[[], None]) -> None:
        """Have `do` called when what was said so far has come back."""
        waiting = [one for one in self._logs.values() if not one.idle]
        if waiting:
            self._begin(self._do_after(waiting, do), "afterwards")
        else:
            do()

    async def _do_after(self, waiting: list[RoomLog], do: Callable[[], None]) -> None:
        for one in waiting:
            await one.resting.wait()
            await one.look()
        asyncio.get_running_loop().call_soon(do)  # after the house has told it

    async def aclose(self) -> None:
        """Leave the cluster: nicks are free, guests gone."""
        if self._away is not None:
            self._away.cancel()
        if self._life is not None:
            for name in tuple(self._logs):
                if self._logs[name].replica.unsaved:
                    await self._save(name)
            await self._telling.close()
        await self.nicks.end()
        self.link.closing = True
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait((self._life,))
        await self.link.aclose()
        if self._server is not None:
            await self._server.aclose()

    # ------------------------------------------------------------ the connection

    @property
    def behind(self) -> bool:
        """So much waits for the bus that guests should be read less."""
        return self.link.waiting > BEHIND_BYTES

    @property
    def away(self) -> bool:
        """The bus cannot be reached."""
        return not self.link.there.is_set()

    def _changed(self, there: bool) -> None:
        """The connection is lost, or back."""
        if self._life is None:
            return
        if self._away is not None:
            self._away.cancel()
            self._away = None
        house, loop = self._hall.house, asyncio.get_running_loop()
        if not there:
            log.warning("the bus is away; it is tried again all the time")
            self._away = loop.call_later(AWAY_SECONDS, self._give_up)
            return
        log.info("the bus is back")
        if house.unkept:
            house.unkept = ""
            house.tell_all(Notice(BACK, self._hall.now().wall_ms // 1000, code="cluster"))
            self._hall.wake()
        self._begin(self._return(), "bus return")

    def _give_up(self) -> None:
        self._hall.house.unkept = AWAY
        self._hall.house.tell_all(Notice(AWAY, self._hall.now().wall_ms // 1000, code="cluster"))
        self._hall.wake()

    async def _return(self) -> None:
        """Learn what was missed while the bus was away."""
        for one in tuple(self._logs.values()):
            await one.look()
        await self._hold_lease()
        await self._telling.beat()
        for name in tuple(self._logs):
            await self._telling.tell_whole(name)

    async def _hold_lease(self) -> None:
        """Go on having the lease; if others may have taken nicks of ours, take them again or see who is faster."""
        try:
            if await self.nicks.renew():
                return
            log.warning("this hub's lease was lost; its nicks are taken anew")
            await self.nicks.begin()
            for guest, _ in self.order.holders(self._hall.house):
                if guest.open and not await self.nicks.take(guest, guest.nick):
                    self.order.has_lost(self._hall.house, guest, self._hall.now())
                    self._hall.wake()
        except BusAway as exc:
            log.debug("bus: %s", exc)

    # ------------------------------------------------------------ now and then

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            await self._telling.beat()
            for name in tuple(self._shutting):
                self._shutting.pop(name, None)
                await self._shut(name)

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            if not self.away:
                await self._hold_lease()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for one in tuple(self._logs.values()):
                if not self.away:
                    await one.look()

    # ------------------------------------------------------------ what the order asks

    def carry_out(self, effect: ForCluster) -> None:
        """Do it, or begin to; never waits."""
        match effect:
            case Propose(room, entry):
                followed = self._logs.get(room)
                if followed is not None:
                    followed.propose(entry)
                else:
                    log.error("something was proposed to a room that is not followed")
            case Share(room, event):
                self._telling.share(room, event)
            case Open(guest, ask):
                self._open(guest, ask)
            case Shut(room, closed):
                if closed:
                    self._begin(self._purge(room, closed), f"end of {token(room)}")
                if room not in (HOUSE, LOBBY):
                    self._shutting[room] = None
            case Save(room):
                if room not in self._saving:
                    self._saving.add(room)
                    self._begin(self._save(room), f"state of {token(room)}")
            case Amend():
                self._begin(self._amend(effect), "change")
            case Claim(guest, nick):
                self._claiming.add(guest.number)
                self._begin(self._claim(guest, nick), f"nick of guest {guest.number}")
            case Release(folded, number):
                self.nicks.release(folded, number)
            case _:
                assert_never(effect)

    def replica_place(self, room: str) -> int:
        """How far a room's log was read; 0: it is not followed."""
        followed = self._logs.get(room)
        return followed.replica.place if followed is not None else 0

    def _open(self, guest: Guest, ask: Join) -> None:
        name = check_room_name(ask.room or LOBBY)
        waiting = self._opening.get(name)
        if waiting is not None:
            waiting.append((guest, ask))
            return
        self._opening[name] = [(guest, ask)]
        self._begin(self._open_for(name), f"opening of {token(name)}")

    async def _open_for(self, name: str) -> None:
        """Follow a room, or read on in it, for those who wait for that."""
        why = ""
        try:
            if name in self._logs:
                since = max((ask.since or 0) for _, ask in self._opening[name])
                await self._logs[name].catch_up(min(since >> 10, self.replica_place(name) + (1 << 20)))
            elif self.away:
                why = TRY_AGAIN
            else:
                await self._follow(name)
        except (BusAway, BadLog) as exc:
            log.warning("a room cannot be opened: %s", exc)
            why = TRY_AGAIN
        house = self._hall.house
        for guest, ask in self._opening.pop(name):
            if why:
                self.order.refused(house, guest, why, name)
            else:
                self.order.go_on(house, guest, ask, self._hall.now())
        if name not in house.rooms and name in self._logs:
            self._shutting[name] = None  # nobody has made it, after all
        self._hall.wake()

    async def _follow(self, name: str) -> None:
        followed = RoomLog(name, self._hall, self.order, self.link, self._begin)
        self._logs[name] = followed
        try:
            await followed.open(self._telling.heard)
            if name != HOUSE:
                await self._telling.roll(name)
        except BaseException:
            self._logs.pop(name, None)
            self.order.shut(self._hall.house, name)
            await followed.close()
            raise

    async def _shut(self, name: str) -> None:
        """Follow a room no more, if nobody of this hub is in it or about to be."""
        followed, room = self._logs.get(name), self._hall.house.rooms.get(name)
        if followed is None or name in self._opening or (room is not None and room.members):
            return
        if not followed.idle or not followed.replica.open:
            self._shutting[name] = None
            return
        if followed.replica.unsaved:
            await self._save(name)
        room = self._hall.house.rooms.get(name)
        if name in self._opening or not followed.idle or (room is not None and room.members):
            return
        del self._logs[name]
        self.order.shut(self._hall.house, name)
        self._telling.shut(name)
        await followed.close()

    async def _save(self, name: str) -> None:
        followed = self._logs.get(name)
        self._saving.discard(name)
        if followed is None:
            return
        replica, house = followed.replica, self._hall.house
        if name == HOUSE:
            state = msgspec.structs.replace(replica.state(None), bans=house.bans.kept())
        else:
            state = replica.state(house.rooms.get(name))
        unsaved, replica.unsaved = replica.unsaved, 0
        try:
            await self.link.rooms.put(token(name), encode(state))
        except BusAway as exc:
            replica.unsaved += unsaved
            log.debug("bus: the state of a room was not kept: %s", exc)

    async def _purge(self, name: str, seq: int) -> None:
        try:
            await self._save(name)
            await self.link.purge(name, seq >> 10)
        except BusAway as exc:
            log.warning("what was said in a closed room may be in the log still: %s", exc)

    async def _amend(self, what: Amend) -> None:
        """Every hub stores it under the same name, and the server keeps one of them."""
        kind = "v" if what.text is None else "e" if what.text else "r"
        subject = self.link.names.changed(what.room, what.id, kind)
        raw = msgspec.msgpack.encode((VERSION, what.id, what.seq, kind, what.text or ""))
        while not self.link.closing:
            await self.link.there.wait()
            try:
                await self.link.store(self.link.names.changes_stream, subject, raw, f"{subject}.{what.seq}")
            except BusAway:
                await asyncio.sleep(AGAIN_SECONDS)
            else:
                return

    async def _claim(self, guest: Guest, nick: str) -> None:
        house = self._hall.house
        try:
            if house.unkept or self.away:
                raise BusAway("The bus is away.")
            got = await self.nicks.take(guest, nick)
        except BusAway as exc:
            log.debug("bus: a nick was not taken: %s", exc)
            self.order.refused(house, guest, TRY_AGAIN)
        else:
            self.order.claimed(house, guest, nick, got, self._hall.now())
        finally:
            self._claiming.discard(guest.number)
        self._hall.wake()

    def _is_ours(self, number: int) -> bool:
        return number in self._claiming or self.order.is_ours(number)

    def own(self, nick: str, key: PeerKey) -> None:
        """A guest with this nick has proved its key."""
        self._begin(self._own(nick, key), "owned nick")

    async def _own(self, nick: str, key: PeerKey) -> None:
        try:
            await self.nicks.own(nick, key)
        except BusAway as exc:
            log.debug("bus: a nick is nobody's yet: %s", exc)

    async def _told(self, told: Msg) -> None:
        """Another hub tells this one alone."""
        ousted = decode(told.data, Ousted)
        house = self._hall.house
        guest = house.guests.find(ousted.nick) if ousted is not None else None
        if ousted is not None and guest is not None and guest.number == ousted.guest:
            house.cut(guest, "replaced", "You have come in anew elsewhere.", self._hall.now())
            self._hall.wake()


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (exc := task.exception()) is not None:
        log.error("bus: %s failed", task.get_name(), exc_info=exc)
