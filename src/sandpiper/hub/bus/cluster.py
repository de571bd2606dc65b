"""A hub's place in its cluster: carries out what the house's order asks of it, and tells what comes of it."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, assert_never

from sandpiper.hub.bus.away import BusAway
from sandpiper.hub.bus.keeping import Keeping
from sandpiper.hub.bus.link import Link
from sandpiper.hub.bus.log import HOUSE, BadLog, Begun, place_of, token
from sandpiper.hub.bus.nicks import MAX_HUBS, RENEW_SECONDS, Nicks, Ousted, decode
from sandpiper.hub.bus.pages import BusHistory
from sandpiper.hub.bus.replicated import Replicated
from sandpiper.hub.bus.rooms import RoomLog
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
END_SECONDS = 5.0  # for all that is to be kept, and for leaving, when the hub ends: as for one answer
ASKED_SECONDS = 2.0  # that a room is followed after somebody asked for it: a password is hashed in a part of that
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
        self._keeping = Keeping(self.link, self.order)
        self._hall: Hall
        self._telling: Telling
        self._logs: dict[str, RoomLog] = {}
        self._opening: dict[str, list[tuple[Guest, Join]]] = {}
        self._shutting: dict[str, None] = {}
        self._saving: set[str] = set()
        self._unsure = False  # others may have taken nicks of ours
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
        self._number_guests()
        self._telling = Telling(hall, self.order, self.link, self._begin)
        ready = asyncio.Event()
        self._life = asyncio.create_task(self._live(ready), name="hub bus")
        await ready.wait()
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

    def _number_guests(self) -> None:
        guests, slot = self._hall.house.guests, self.nicks.slot
        if guests.anonymous != (slot, MAX_HUBS):
            guests.base = slot << 48 | secrets.randbits(15) << 32
            guests.anonymous = (slot, MAX_HUBS)

    @property
    def life(self) -> asyncio.Future[None]:
        """Ends when the hub takes part no more: by `aclose`, by a mistake of ours, or because the bus refuses it."""
        assert self._life is not None
        return self._life

    async def _live(self, ready: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            ready.set()
            await self.link.ended.wait()  # or until it is cancelled
            raise BusAway("The bus has ended the connection for good.", hint="Its log says why; then start the hub.")

    def _begin(self, what: Coroutine[None, None, None], name: str) -> None:
        try:
            task = self._tasks.create_task(what, name=name)
        except RuntimeError:  # this hub does not take part any more, and is about to close
            what.close()
            log.debug("bus: %s is not begun any more", name)
        else:
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
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._leave()
        except TimeoutError:
            log.warning("what rooms are was not kept in time; it will be read from their logs")
        self.link.closing = True
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait((self._life,))
            if not self._life.cancelled() and (why := self._life.exception()) is not None:
                log.error("this hub has left its cluster: %s", _reasons(why))
        await self.link.aclose()
        if self._server is not None:
            await self._server.aclose()

    async def _leave(self) -> None:
        """Tell the others, if they can be told."""
        if self.away:
            return
        if self._life is not None:
            await self._keeping.save_all(self._hall.house)
            await self._telling.close()
        await self.nicks.end()

    # ------------------------------------------------------------ the connection

    @property
    def behind(self) -> bool:
        """So much waits for the bus that guests should be read less."""
        return self.link.waiting > BEHIND_BYTES

    @property
    def away(self) -> bool:
        """The bus cannot be reached, or takes nothing."""
        return self.link.stuck or not self.link.there.is_set()

    def _changed(self, there: bool) -> None:
        """The connection is lost, or back."""
        if self._life is None:
            return
        if self._away is not None:
            self._away.cancel()
            self._away = None
        house, loop = self._hall.house, asyncio.get_running_loop()
        if not there:
            how, after = ("stores nothing", 0.0) if self.link.stuck else ("is away", AWAY_SECONDS)
            log.warning("the bus %s; it is tried again all the time", how)
            self._away = loop.call_later(after, self._give_up)
            return
        log.info("the bus is back")
        self._telling.back()
        if house.unkept:
            house.unkept = ""
            house.tell_all(Notice(BACK, self._hall.now().wall_ms // 1000, code="cluster"))
            self._hall.wake()
        self._begin(self._return(), "bus return")

    def _give_up(self) -> None:
        if self._hall.house.unkept:
            return
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
            if not await self.nicks.renew():
                log.warning("this hub's lease was lost; its nicks are taken anew")
                self._unsure = True  # until all were taken, whatever comes between
                await self.nicks.begin()
                self._number_guests()
            if self._unsure:
                for guest, _ in self.order.holders(self._hall.house):
                    if guest.open and not await self.nicks.take(guest, guest.nick):
                        self.order.has_lost(self._hall.house, guest, self._hall.now())
                        self._hall.wake()
                self._unsure = False
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
            if self.link.there.is_set():
                await self._hold_lease()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for one in tuple(self._logs.values()):
                if not self.away:
                    await one.look()
            if not self.away:
                await self._keeping.refresh(self._hall.house, tuple(self._logs))

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
                    self.order.unheard(self._hall.house, room, entry, TRY_AGAIN)
            case Share(room, event):
                self._telling.share(room, event)
            case Open(guest, ask):
                self._open(guest, ask)
            case Shut(room, closed):
                if closed:
                    self._begin(self._keeping.purge(self._hall.house, room, closed), f"end of {token(room)}")
                if room not in (HOUSE, LOBBY):
                    self._shutting[room] = None
            case Save(room):
                if room not in self._saving:
                    self._saving.add(room)
                    self._begin(self._save(room), f"state of {token(room)}")
            case Amend():
                self._begin(self._keeping.amend(effect), "change")
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
                since = place_of(max((ask.since or 0) for _, ask in self._opening[name]))
                # Whoever says to have seen what never was waits for nothing.
                await self._logs[name].catch_up(min(since, await self.link.end(name)))
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
        if name != LOBBY and (name not in house.rooms or not house.rooms[name].members):
            self._shutting[name] = None  # nobody has made it, or may come in, after all
        self._hall.wake()

    async def _follow(self, name: str) -> None:
        followed = RoomLog(name, self._hall, self.order, self.link, self._begin)
        try:
            await followed.open(self._telling.heard)
            self._logs[name] = followed  # only now: whoever goes through them needs what it knows
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
        asked = self._hall.now().mono - followed.replica.asked < ASKED_SECONDS
        if asked or not followed.idle or not followed.replica.open:
            self._shutting[name] = None
            return
        if followed.replica.unsaved:
            await self._save(name)
        room = self._hall.house.rooms.get(name)
        if name in self._opening or not followed.idle or (room is not None and room.members):
            self._shutting[name] = None
            return
        del self._logs[name]
        self.order.shut(self._hall.house, name)
        self._telling.shut(name)
        await followed.close()

    async def _save(self, name: str) -> None:
        self._saving.discard(name)
        await self._keeping.save(self._hall.house, name)

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


def _reasons(exc: BaseException) -> str:
    return "; ".join(map(_reasons, exc.exceptions)) if isinstance(exc, BaseExceptionGroup) else str(exc)


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (exc := task.exception()) is not None:
        log.error("bus: %s failed", task.get_name(), exc_info=exc)
