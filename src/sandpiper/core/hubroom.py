"""One room of a hub as a guest has it: every number once and in order, whatever was missed between. Pure."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

from sandpiper.core.hubevents import HubCame, HubMembers, HubNote, HubRenamed
from sandpiper.wire.hub import LOBBY
from sandpiper.wire.hub.answers import Member, Said
from sandpiper.wire.hub.asks import History, Join

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sandpiper.wire.hub.answers import Joined, Kept, Notice

PAGE = 200  # messages asked for at once; of the longest ones that is 12 MiB, of ordinary ones 30 KiB
RECENT = 200  # messages that somebody new gets of what was said before
MAX_CATCH_UP = 20_000  # messages fetched after an absence: half a minute at a hub's usual pace
MAX_HELD = 4096  # messages that wait behind a gap; what comes beyond is fetched again
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
        self.members: dict[str, Member] = {}
        """By nick, as far as the hub tells."""
        self.count = 0
        """How many members there are, ourselves with them."""
        self.received = 0
        """What catching up has brought."""
        self.before_us = 0
        """Numbers up to this one were given before we came in."""
        self._known = mark is not None
        self._top = 0  # the last number that we know of
        self._first = 0  # what is held begins with this number; 0: there is no gap
        self._low = 0  # the lowest number that is missing and may still be had
        self._step = PAGE
        self._asked = 0  # the page that was asked for ends before this number
        self._held: list[Numbered] = []
        self._seen: OrderedDict[str, None] = OrderedDict()

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
        return self._first > 0

    def join(self) -> Join:
        """What to say to enter, or to go on."""
        if not self._known:
            return Join(self.name, self.password)
        return Join(self.name, self.password, self.epoch, self.last)

    def joined(self, answer: Joined) -> None:
        """We are in. What was said since the last time follows, or is to be fetched."""
        self.inside = True
        self._held.clear()
        self._first = self.received = 0
        self._top = self.before_us = answer.seq
        if self._known and answer.resumed:
            if answer.first > self.last + 1:
                self._open(answer.first)
            return
        if self.epoch == answer.epoch:
            # The hub has lost its last lines and will give their numbers to others: tell those from the old ones.
            _, _, lives = self.life.partition("~")
            self.life, self.last = f"{answer.epoch}~{int(lives or 0) + 1}", answer.seq
        else:
            self.life = answer.epoch
            self.last = 0 if self._known else max(0, answer.seq - RECENT)
        self._known = True
        if answer.seq > self.last:
            self._open(answer.seq + 1)

    def lost(self) -> None:
        """The connection has ended; what was held is fetched anew."""
        self.inside = False
        self._held.clear()
        self._first = 0
        self.members.clear()

    # ------------------------------------------------------------ members

    def listed(self, members: tuple[Member, ...], count: int) -> HubMembers:
        """The hub has told who is here: the first of `count`."""
        self.members = {member.nick: member for member in members}
        self.count = max(count, len(members))
        return HubMembers(self.name, members, self.count)

    def noticed(self, notice: Notice) -> HubRenamed | HubCame | HubNote:
        """The hub has told of something in this room."""
        if notice.old and notice.new:
            member = self.members.pop(notice.old, None)
            self.members[notice.new] = Member(notice.new, member is not None and member.operator)
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
        self._top = max(self._top, line.seq)
        if line.seq <= self.last:
            return []
        if not self._first:
            if line.seq == self.last + 1:
                return self._tell((line,))
            self._open(line.seq)
        if line.seq == self._first + len(self._held) and len(self._held) < MAX_HELD:
            self._held.append(line)
        return []

    def _open(self, first: int) -> None:
        self._first, self._step = first, PAGE
        self._low = max(self.last + 1, first - MAX_CATCH_UP)

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
                self._seen[client_id] = None
                if len(self._seen) > MAX_SEEN:
                    self._seen.popitem(last=False)
            told.append(line)
        return told

    # ------------------------------------------------------------ pages

    def ask(self) -> History:
        """The page to ask for: the oldest of what is missing."""
        self._asked = min(self._first, self._low + self._step)
        return History(self.shown, self._asked, min(PAGE, self._asked - self._low))

    def page(self, lines: Iterable[Numbered], *, more: bool) -> tuple[list[Numbered], int]:
        """The page has come; `more`: there are older lines than these. Returns what may be told now, and how many
        before or among it cannot be had any more.
        """
        by_seq = {line.seq: line for line in lines if self._low <= line.seq < self._asked}
        found = [by_seq[seq] for seq in sorted(by_seq)]
        told: list[Numbered] = []
        missing = 0
        if not found:
            # Nothing so old is kept: look for the oldest that is, in longer and longer steps.
            self._low = self._asked
            self._step *= 2
        elif found[0].seq == self._low or not more:
            missing = found[-1].seq - self.last - len(found)
            told = self._tell(found)
            self.received += len(found)
            self._low, self._step = self.last + 1, PAGE
        else:
            self._step = max(1, self._step // 2)  # too far, or the hub gives less than was asked for
        if self._low >= self._first:
            rest, lacking = self.give_up()
            return told + rest, missing + lacking
        return told, missing

    def give_up(self) -> tuple[list[Numbered], int]:
        """Go on without what is missing. Returns as `page`."""
        held, missing = self._held, self._first - 1 - self.last
        self.last = self._first - 1
        self._held, self._first = [], 0
        told = self._tell(held)
        if self._top > self.last:
            self._open(self._top + 1)
        return told, missing
