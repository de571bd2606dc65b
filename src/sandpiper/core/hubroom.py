"""One room of a hub as a guest has it: every number once and in order, whatever was missed between. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from sandpiper.core.hubevents import HubCame, HubMembers, HubNote, HubRenamed
from sandpiper.wire.hub import LOBBY
from sandpiper.wire.hub.answers import Edited, Member, Said
from sandpiper.wire.hub.asks import History, Join

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandpiper.wire.hub.answers import Joined, Kept, Notice

PAGE = 200  # messages asked for at once; of the longest ones that is 12 MiB, of ordinary ones 30 KiB
RECENT = 200  # messages that somebody new gets of what was said before
MAX_CATCH_UP = 20_000  # messages fetched after an absence: half a minute at a hub's usual pace
MAX_CATCH_UP_CHARS = 32 * 1024 * 1024  # and their texts: they are in memory until the oldest of them is there
MAX_HELD = 4096  # messages that wait for what is fetched; what comes beyond is fetched again
MAX_MEMBERS = 1000  # names kept of a room: as many as a hub lists
MAX_SEEN = 4096  # newest client ids remembered: as many as a hub does


class Mark(NamedTuple):
    """How far a room was read: what to keep over a restart. `life` as in `HubRoomIn`."""

    room: str
    life: str
    last: int


class Numbered(NamedTuple):
    """A line with its number; None: of a kind that we do not know, or told already under another number."""

    seq: int
    kept: Kept | None


class HubRoom:
    """Members, and the place in the row of what is said."""

    def __init__(self, name: str, password: str = "", mark: Mark | None = None) -> None:
        self.name = name
        self.shown = "" if name == LOBBY else name
        """As lines name it."""
        self.password = password
        self.inside = False
        self.life = mark.life if mark is not None else ""
        self.last = mark.last if mark is not None else 0
        """The last number that was told."""
        self.topic = ""
        self.operator = False
        self.slowmode = 0
        self.members: dict[str, Member] = {}
        """By nick, as far as the hub tells."""
        self.count = 0
        """How many members there are, ourselves with them."""
        self.received = 0
        """Messages that catching up has brought."""
        self.before_us = 0
        """Numbers up to this one were given before we came in."""
        self._known = mark is not None
        self._before = 0  # the next page ends before this number; 0: nothing is missing
        self._left = 0  # messages that are still fetched before the rest is given up
        self._weight = 0  # characters that were fetched
        self._pages: list[list[Numbered]] = []  # what was fetched, the newest first
        self._held: list[Numbered] = []  # what came meanwhile
        self._missed = 0  # the last number that came and was not held
        self._seen: OrderedDict[str, int] = OrderedDict()  # client ids and their numbers, the newest last

    @property
    def epoch(self) -> str:
        """The room's life as the hub names it."""
        return self.life.partition("~")[0]

    @property
    def mark(self) -> Mark:
        """How far it was read."""
        return Mark(self.name, self.life, self.last)

    @property
    def behind(self) -> bool:
        """Whether something is missing that may still be had."""
        return self._before > 0

    def join(self) -> Join:
        """What to say to enter, or to go on."""
        if not self._known:
            return Join(self.name, self.password)
        return Join(self.name, self.password, self.epoch, self.last)

    def joined(self, answer: Joined) -> None:
        """We are in. What was said since the last time follows, or is to be fetched."""
        self.inside = True
        self._forget()
        self.received = 0
        self.before_us = answer.seq
        if self._known and answer.resumed:
            if answer.first > self.last + 1:
                self._fetch(answer.first, MAX_CATCH_UP)
            return
        most = MAX_CATCH_UP if self._known else RECENT
        if self._known and self.epoch == answer.epoch:
            # The hub has lost its last lines and will give their numbers to others: tell those from the old ones.
            _, _, lives = self.life.partition("~")
            self.life, self.last = f"{answer.epoch}~{int(lives or 0) + 1}", answer.seq
        else:
            self.life, self.last = answer.epoch, 0
        if answer.seq > self.last:
            self._fetch(answer.seq + 1, most)
        else:
            self._known = True

    def lost(self) -> None:
        """The connection has ended; what was held is fetched anew."""
        self.inside = False
        self._forget()
        self.members.clear()

    def rewind(self, life: str, last: int) -> None:
        """What was told after this place could not be kept: when we enter again, go on there. `life` empty: it never
        was in one.
        """
        self.lost()
        if life != self.life:
            self._seen.clear()
        while self._seen and next(reversed(self._seen.values())) > last:
            self._seen.popitem()
        self.life, self.last, self._known = life, last, bool(life)

    def _forget(self) -> None:
        self._before = self._missed = self._weight = 0
        self._pages, self._held = [], []

    # ------------------------------------------------------------ members

    def listed(self, members: tuple[Member, ...], count: int) -> HubMembers:
        """The hub has told who is here: the first of `count`."""
        self.members = {member.nick: member for member in members}
        self.count = max(count, len(members))
        return HubMembers(self.name, members, self.count)

    def noticed(self, notice: Notice) -> HubRenamed | HubCame | HubNote:
        """The hub has told of something in this room."""
        if notice.old and notice.new:
            member = self.members.pop(notice.old, Member(notice.old))
            if len(self.members) < MAX_MEMBERS:
                self.members[notice.new] = Member(notice.new, member.operator, member.key)
            return HubRenamed(self.name, notice.old, notice.new)
        if notice.joined or notice.left or notice.members:
            for nick in notice.left:
                self.members.pop(nick, None)
            for nick in notice.joined[: max(0, MAX_MEMBERS - len(self.members))]:
                self.members.setdefault(nick, Member(nick))
            self.count = notice.members or max(1, self.count + len(notice.joined) - len(notice.left))
            return HubCame(self.name, notice.joined, notice.left, notice.members, notice.text)
        return HubNote(self.name, notice.code, notice.text)

    # ------------------------------------------------------------ what comes

    def take(self, line: Numbered) -> list[Numbered]:
        """A line has come; returns those that may be told now."""
        if line.seq <= self.last:
            return []
        # Numbers may jump. On one connection nothing is left out, so whatever comes is the next one.
        if not self.behind:
            return self._tell((line,))
        if line.seq > (self._held[-1].seq if self._held else self._before - 1):
            if len(self._held) < MAX_HELD and not self._missed:
                self._held.append(line)
            else:
                self._missed = line.seq
        return []

    def _fetch(self, before: int, most: int) -> None:
        """Something between the last number told and `before` may be missing: fetch it, newest page first."""
        self._before, self._left = before, most

    def _tell(self, lines: Iterable[Numbered]) -> list[Numbered]:
        """These are told now, unless what they say was told before: said again by somebody whom the hub did not know
        any more.
        """
        told = []
        for line in lines:
            self.last = line.seq
            if isinstance(line.kept, Said) and (client_id := line.kept.client_id):
                if client_id in self._seen:
                    continue
                self._seen[client_id] = line.seq
                if len(self._seen) > MAX_SEEN:
                    self._seen.popitem(last=False)
            told.append(line)
        return told

    # ------------------------------------------------------------ pages

    def ask(self) -> History:
        """The page to ask for: the newest of what is missing. Numbers may jump, so only the hub knows what is there."""
        return History(self.shown, self._before, min(PAGE, self._left))

    def page(self, lines: Iterable[Numbered], *, more: bool) -> tuple[list[Numbered], bool]:
        """The page has come; `more`: there are older lines than these. Returns what may be told now (nothing before
        the oldest is there), and whether older ones are given up, since they are too many.
        """
        by_seq = {line.seq: line for line in lines if line.seq < self._before}
        oldest = min(by_seq, default=0)
        found = [by_seq[seq] for seq in sorted(by_seq) if seq > self.last]
        self._pages.append(found)
        self._left -= len(found)
        self._weight += sum(len(line.kept.text) for line in found if isinstance(line.kept, Said | Edited))
        self.received += sum(isinstance(line.kept, Said) for line in found)
        if not more or oldest <= self.last + 1:
            return self.go_on(), False
        if self._left <= 0 or self._weight > MAX_CATCH_UP_CHARS:
            away = self.last > 0  # somebody new is not told that there is more
            return self.go_on(), away
        self._before = oldest
        return [], False

    def go_on(self) -> list[Numbered]:
        """What was fetched and held can be told now, whatever is missing before it."""
        lines = [line for page in reversed(self._pages) for line in page] + self._held
        missed, self._known = self._missed, True
        self._forget()
        told = self._tell(lines)
        if missed > self.last:
            self._fetch(missed + 1, MAX_CATCH_UP)
        return told
