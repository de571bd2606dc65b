"""One room of the hub: members, the numbers and the order of what is said, and what was just said. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from sandpiper.hub.effects import Deliver, Keep
from sandpiper.hub.guests import fold
from sandpiper.hub.history import Barred, Batch, KeptRoom
from sandpiper.hub.limits import MAX_AUTHORS, MAX_BANS, MAX_CLIENT_IDS, MAX_TAIL_BYTES
from sandpiper.hub.presence import Presence
from sandpiper.hub.slow import Spoke
from sandpiper.wire.hub import LOBBY
from sandpiper.wire.hub.lines import encode_answers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sandpiper.core.events import Now
    from sandpiper.hub.effects import Effect
    from sandpiper.hub.far import Far
    from sandpiper.hub.guests import Guest
    from sandpiper.hub.history import SentId
    from sandpiper.hub.pace import Allowance
    from sandpiper.wire.hub.answers import Kept
    from sandpiper.wire.hub.asks import Msg
    from sandpiper.wire.ids import PeerKey

FOREVER = float("inf")


class Listed:
    """Who is banned or muted, by everything they are known by, and until when."""

    __slots__ = ("_barred", "_ends", "_names")

    def __init__(self, kept: Iterable[Barred], now: Now) -> None:
        """`kept` are those of an earlier life, as `kept` gave them."""
        self._barred: dict[str, Barred] = {}
        self._ends: dict[str, float] = {}  # by name: on the clock of `Now.mono`
        self._names: dict[str, set[str]] = {}  # by token: all who were put on it with that
        for one in kept:
            self.bring(one, now)

    def bring(self, kept: Barred, now: Now) -> None:
        """Somebody of an earlier life, unless their time is over."""
        left = kept.until - now.wall_ms / 1000 if kept.until else FOREVER
        if left > 0:
            self._add(kept, now.mono + left)

    def __contains__(self, folded: str) -> bool:
        """Whether somebody who was called so when they were put on it is."""
        return folded in self._barred

    def kept(self) -> tuple[Barred, ...]:
        """What the history keeps of it."""
        return tuple(self._barred.values())

    def put(self, folded: str, tokens: Iterable[str], seconds: int, now: Now) -> bool:
        """Put somebody on it for so long (0: for ever); False when it is full."""
        for name in [name for name, end in self._ends.items() if end <= now.mono]:
            self.take_off(name)
        if len(self._names) >= MAX_BANS:
            return False
        before = self._barred.get(folded)
        known = dict.fromkeys((*(before.tokens if before is not None else ()), *tokens))
        until = now.wall_ms // 1000 + seconds if seconds else 0
        self._add(Barred(folded, until, tuple(known)), now.mono + seconds if seconds else FOREVER)
        return True

    def _add(self, one: Barred, end: float) -> None:
        self.take_off(one.name)
        self._barred[one.name] = one
        self._ends[one.name] = end
        for token in one.tokens:
            self._names.setdefault(token, set()).add(one.name)

    def take_off(self, folded: str) -> bool:
        """Take off whoever was called so when they were put on it; False when nobody was."""
        one = self._barred.pop(folded, None)
        if one is None:
            return False
        del self._ends[folded]
        for token in one.tokens:
            names = self._names.get(token, set())
            names.discard(folded)
            if not names:
                self._names.pop(token, None)
        return True

    def names(self, guest: Guest, now: float) -> bool:
        """Whether `guest` is on it at `now`."""
        return bool(self._names) and any(self.holds(token, now) for token in guest.tokens())

    def holds(self, token: str, now: float) -> bool:
        """Whether somebody who is known by this is on it at `now`."""
        for name in tuple(self._names.get(token, ())):
            if now < self._ends[name]:
                return True
            self.take_off(name)
        return False

    def __bool__(self) -> bool:
        """Whether anybody is on it."""
        return bool(self._names)


def _key(nick: str, client_id: str) -> int:
    """What is remembered of an id of a sender: 64 bits, drawn anew at each start, so nobody can make two meet."""
    return hash(f"{nick} {client_id}")


class Room:
    """What belongs to one room. `pending` was said and is not sent yet; it has its numbers already."""

    __slots__ = (
        "_authors", "_client_ids", "_everybody", "_tail", "_tail_bytes", "allowance", "bans", "epoch", "far", "left",
        "lock", "makers", "members", "mutes", "name", "operators", "pending", "presence", "reading", "seq", "shown",
        "slowmode", "spoke", "topic", "unread",
    )  # fmt: skip

    def __init__(self, kept: KeptRoom, allowance: Allowance, now: Now) -> None:
        self.name = kept.name
        self.shown = "" if kept.name == LOBBY else kept.name
        """As lines name it."""
        self.epoch = kept.epoch
        self.seq = kept.seq
        """The last number that was given to something said."""
        self.topic = kept.topic
        self.lock = kept.lock
        self.slowmode = kept.slowmode
        self.operators: set[PeerKey] = set(kept.operators)
        self.makers: set[int] = set()
        """Operators that have no key, by number; while they are here."""
        self.allowance = allowance
        self.members: dict[Guest, None] = {}
        self.far: dict[int, Far] = {}
        """Members that are connected to other hubs, by number."""
        self.presence = Presence(self.shown)
        self.pending: list[Kept] = []
        self.bans = Listed(kept.bans, now)
        self.mutes = Listed(kept.mutes, now)
        self._everybody: tuple[Guest, ...] | None = ()
        self._tail: deque[Batch] = deque()
        self._tail_bytes = 0
        self._authors: deque[tuple[int, PeerKey | int]] = deque(maxlen=MAX_AUTHORS)
        self._client_ids: dict[int, int] = {}  # by `_key`, the oldest first
        self.left = now.mono
        """When somebody was here last, in seconds."""
        self.spoke = Spoke()
        self.unread = kept.seq > 0
        """Which ids of senders were used before the room was held here is not known yet (`recollect`)."""
        self.reading = False
        """It is being read."""

    def kept(self, *, closed: bool = False) -> KeptRoom:
        """What the history keeps of it."""
        return KeptRoom(
            self.name, self.epoch, self.seq, self.topic, self.lock, tuple(sorted(self.operators)), self.slowmode,
            closed, self.bans.kept(), self.mutes.kept(),
        )  # fmt: skip

    # ------------------------------------------------------------ members

    def add(self, guest: Guest) -> None:
        """`guest` is a member; seal what is pending first, it is not for it."""
        self.members[guest] = None
        self._everybody = None
        guest.rooms = (*guest.rooms, self)

    def remove(self, guest: Guest) -> None:
        """`guest` is no member; seal what is pending first, it is for it, too."""
        del self.members[guest]
        self._everybody = None
        self.makers.discard(guest.number)
        guest.rooms = tuple(room for room in guest.rooms if room is not self)

    def everybody(self) -> tuple[Guest, ...]:
        """The members; made once after each change."""
        if self._everybody is None:
            self._everybody = tuple(self.members)
        return self._everybody

    @property
    def count(self) -> int:
        """How many members there are, on all hubs."""
        return len(self.members) + len(self.far)

    def find(self, nick: str) -> Guest | Far | None:
        """The member who is called so, in any spelling that looks the same."""
        folded = fold(nick)
        for members in (self.members, self.far.values()):
            for one in members:
                if one.folded == folded:
                    return one
        return None

    def is_operator(self, guest: Guest | Far) -> bool:
        """Whether `guest` is an operator of this room."""
        return guest.number in self.makers or guest.key in self.operators

    # ------------------------------------------------------------ what is said

    def wrote(self, owner: PeerKey | int, first: int) -> None:
        """What is numbered from `first` on is by `owner`."""
        if not self._authors or self._authors[-1][1] != owner:
            self._authors.append((first, owner))

    def author(self, seq: int) -> PeerKey | int | None:
        """Who said number `seq`; None when that is not known any more."""
        if not 0 < seq <= self.seq:
            return None
        return next((owner for first, owner in reversed(self._authors) if first <= seq), None)

    def unsaid(self, nick: str, msgs: Sequence[Msg]) -> tuple[Sequence[Msg], list[tuple[str, int]]]:
        """Those messages that this sender has not said before, by its own ids of them, which are remembered; and
        (id, number) of the others.
        """
        known, first = self._client_ids, self.seq + 1
        keys = map(hash, [f"{nick} {msg.client_id}" for msg in msgs if msg.client_id])  # `_key`, without the calls
        ids = dict(zip(keys, range(first, first + len(msgs)), strict=False))
        again: list[tuple[str, int]] = []
        if len(ids) == len(msgs) and known.keys().isdisjoint(ids):
            known.update(ids)  # as nearly always
        else:
            fresh: list[Msg] = []
            for msg in msgs:
                seq = known.setdefault(_key(nick, msg.client_id), first + len(fresh)) if msg.client_id else 0
                if seq and seq != first + len(fresh):
                    again.append((msg.client_id, seq))
                else:
                    fresh.append(msg)
            msgs = fresh
        if len(known) > 2 * MAX_CLIENT_IDS:  # seldom: it takes a while
            self._client_ids = dict(islice(known.items(), len(known) - MAX_CLIENT_IDS, None))
        return msgs, again

    def said(self, nick: str, client_id: str) -> int:
        """The number under which this sender has said this; 0: it has not, as far as is remembered."""
        return self._client_ids.get(_key(nick, client_id), 0)

    def recollect(self, ids: Iterable[SentId]) -> None:
        """These ids were used before the room was held here, the oldest first."""
        self._client_ids = {_key(one.nick, one.client_id): one.seq for one in ids} | self._client_ids
        self.unread = self.reading = False

    def seal(self, ts: int) -> Iterator[Effect]:
        """Everything that waits becomes bytes for those who are members now: first who came and went, then what was
        said, encoded once. `ts` in seconds since 1970.
        """
        if self.presence.due is not None:
            yield from self.presence.tell(self.everybody(), self.count, ts)
        pending = self.pending
        if not pending:
            return
        self.pending = []
        raw = encode_answers(pending)
        first, count = pending[0].seq, len(pending)
        # In a cluster numbers jump.
        seqs = () if self.seq - first + 1 == count else tuple(one.seq for one in pending)
        batch = Batch(self.name, self.epoch, first, count, ts, raw, seqs)
        self._tail.append(batch)
        self._tail_bytes += len(raw)
        while self._tail_bytes > MAX_TAIL_BYTES and len(self._tail) > 1:
            self._tail_bytes -= len(self._tail.popleft().raw)
        yield Keep(batch)
        yield Deliver(raw, self.everybody(), lines=batch.count)

    def since(self, seq: int) -> tuple[int, bytes]:
        """(first number, lines) of what was said after `seq`, as much of it as is held here. Nothing is pending."""
        first, lines = self.seq + 1, []
        for batch in reversed(self._tail):
            last = batch.seqs[-1] if batch.seqs else batch.first + batch.count - 1
            if last <= seq:
                first = seq + 1
                break
            if batch.first > seq:
                lines.append(batch.raw)
                first = batch.first
                continue
            skipped = bisect_right(batch.seqs, seq) if batch.seqs else seq + 1 - batch.first
            lines.append(b"".join(batch.raw.splitlines(keepends=True)[skipped:]))
            first = seq + 1
        return first, b"".join(reversed(lines))
