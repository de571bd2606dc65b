"""Peers of the old p2pchat program: what is believed of their lines, whom we dial, which links stay. Pure.

Nothing they say is signed: a link belongs to whoever its first line names. Page: docs/protocol/p2pchat.md.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.core.backoff import Backoff
from sandpiper.crypto.rooms import plain_message
from sandpiper.errors import LinkTimeout, RemoteProtocolError
from sandpiper.wire.p2pchat import BadLine, PlainLine, decode_line
from sandpiper.wire.text import clean_line, clean_nick

if TYPE_CHECKING:
    import random

    from sandpiper.wire.ids import RecordId

OLD_SECONDS = 30.0  # as the founding program
MAX_STRIKES = 20  # refused lines of one link: more is not a slip
MAX_PEERS = 64  # linked at one time; the founding program was meant for 20 to 30
MAX_KNOWN = 1024  # peers whose last dial is remembered
MAX_SEEN = 4096  # newest messages remembered, so that none is told twice; the history ignores doubles, too
REDIAL_FIRST, REDIAL_MOST = 1.0, 60.0  # seconds; a dial waits for a beacon, too, and those come every 5 s
TIE_MS = 30_000  # messages that came so shortly after each other keep the order in which they came


class PlainTimes(Struct, frozen=True):
    """How long things take on a link, in seconds."""

    heartbeat: float = 10.0
    """A line of ours at least this often."""
    identify: float = 10.0
    """Who says no `join` for so long is closed."""
    silence: float = 60.0
    """Who says nothing for so long is closed: how often the old program's heartbeats come is not known."""
    linger: float = 2.0
    """How long the lesser one of two links to one peer is still read."""


TIMES = PlainTimes()


class Conversation:
    """The other side of one link: who it says it is, and which of its lines are believed."""

    __slots__ = ("_expected", "_me", "_offset", "_old_since", "_times", "heard", "nick", "peer_id", "strikes", "unit")

    def __init__(self, me: str, now: float, expected: str = "", times: PlainTimes = TIMES) -> None:
        """`me` is our own peer id; `expected` is the one that was dialled (empty: whoever calls)."""
        self.peer_id = ""
        """Who it is; empty before its `join`."""
        self.nick = ""
        self.unit = 0
        """How it writes times (see `PlainLine`)."""
        self.heard = now
        """When it last said something that it may say."""
        self.strikes = 0
        self._me = me
        self._expected = expected
        self._times = times
        self._offset: float | None = None  # our clock minus its own, at its fastest line so far
        self._old_since: float | None = None

    def limit(self, now: float) -> float:
        """Until when it must say something.

        Raises:
            RemoteProtocolError: that is over, and it has not said who it is (`not_identified`).
            LinkTimeout: that is over.
        """
        limit = self.heard + (self._times.silence if self.peer_id else self._times.identify)
        if now < limit:
            return limit
        if self.peer_id:
            raise LinkTimeout(f"{self.nick} said nothing for {self._times.silence:.0f} s.")
        raise RemoteProtocolError("No join came in time.", code="not_identified")

    def take(self, raw: bytes, now: float, waited: float = 0.0) -> PlainLine:
        """One line of it. `now` in seconds, never going back; we have kept the link waiting for `waited` of them,
        which is not held against its lines.

        Raises:
            BadLine: the line is refused, the link goes on. Codes `bad_line`, `line_too_long`, `not_identified`,
                `spoofed`, and `stale`, which is no strike.
            RemoteProtocolError: the link must end. Codes `too_many_errors`, `self`, `wrong_peer`.
        """
        try:
            line = decode_line(raw)
            if not self.peer_id:
                self._identify(line)
            elif line.sender_id != self.peer_id:
                raise BadLine(
                    f"{self.nick} sent a line in the name of {clean_line(line.sender_id, 40)!r}; it was dropped.",
                    code="spoofed",
                )
        except BadLine as exc:
            self.strikes += 1
            if self.strikes >= MAX_STRIKES:
                raise RemoteProtocolError(
                    f"{self.strikes} lines were refused, the last because: {exc}", code="too_many_errors"
                ) from exc
            raise
        self.heard = now
        self._judge_age(line, now - waited)
        if line.username:
            self.nick = line.username
        return line

    def _identify(self, line: PlainLine) -> None:
        if line.type != "join" or line.sequence != 0 or not line.sender_id:
            raise BadLine(
                "The first line must be a join of sequence 0 with a sender_id; another was dropped.",
                code="not_identified",
            )
        if line.sender_id == self._me:
            raise RemoteProtocolError("The other side has the same peer id as this one.", code="self")
        if self._expected and line.sender_id != self._expected:
            raise RemoteProtocolError("Somebody else answers there than the beacon said.", code="wrong_peer")
        self.peer_id, self.unit = line.sender_id, line.unit
        self.nick = line.username or clean_nick("")

    def _judge_age(self, line: PlainLine, now: float) -> None:
        """Age is measured against the sender's own fastest line (its join, at first), so that a wrong clock hides
        nobody. A clock that was set back makes lines look old until they have all done so for 30 s.
        """
        if line.timestamp <= 0:
            return
        offset = now - line.timestamp
        if self._offset is None or offset <= self._offset:
            self._offset = offset
        elif offset > self._offset + OLD_SECONDS:
            if self._old_since is None:
                self._old_since = now
            if now < self._old_since + OLD_SECONDS:
                raise BadLine(f"A line of {self.nick} is older than 30 s; it was dropped.", code="stale")
            self._offset = offset
        self._old_since = None


class _Known:
    """Somebody that we dial."""

    __slots__ = ("backoff", "unit", "when")

    def __init__(self) -> None:
        self.backoff = Backoff(REDIAL_FIRST, REDIAL_MOST)
        self.unit = 0
        self.when = float("-inf")


class PlainMesh:
    """Which links there should be to old peers. The smaller peer id dials, and its dial stays."""

    def __init__(self, me: str, rng: random.Random) -> None:
        self._me = me
        self._rng = rng
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._dialling: set[str] = set()
        self._linked: dict[str, bool] = {}  # peer id: dialled by us

    def found(self, peer_id: str, now: float) -> bool:
        """A beacon of this peer was heard. True: dial it now, and say `dialled` afterwards."""
        if not self._me < peer_id or peer_id in self._linked or len(self._linked) >= MAX_PEERS:
            return False
        if peer_id in self._dialling or len(self._dialling) >= MAX_PEERS or now < self._know(peer_id).when:
            return False
        self._dialling.add(peer_id)
        return True

    def dialled(self, peer_id: str, now: float, unit: int | None = None) -> None:
        """The dial, or the link that came of it, has ended. `unit`: in good order, and so it writes times."""
        self._dialling.discard(peer_id)
        known = self._know(peer_id)
        if unit is not None:
            known.backoff.reset()
            known.unit = unit
        known.when = now + known.backoff.next(self._rng)

    def _know(self, peer_id: str) -> _Known:
        known = self._known.setdefault(peer_id, _Known())
        self._known.move_to_end(peer_id)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return known

    def unit(self, peer_id: str) -> int:
        """How this peer writes times, as far as we know (see `PlainLine`)."""
        known = self._known.get(peer_id)
        return known.unit if known is not None else 0

    def keep(self, peer_id: str, *, dialled: bool) -> bool:
        """A new link has said that it is `peer_id`; `dialled` by us or by it. True: it takes its place, of an older
        one, too. False: the older one stays. Both ends decide alike.

        Raises:
            RemoteProtocolError: there are too many (`full`).
        """
        older = self._linked.get(peer_id)
        if older is None and len(self._linked) >= MAX_PEERS:
            raise RemoteProtocolError(f"{MAX_PEERS} peers are linked; no more are taken.", code="full")
        if older is not None and older != dialled and older == (self._me < peer_id):
            return False
        self._linked[peer_id] = dialled
        return True

    def lost(self, peer_id: str) -> None:
        """The link that was kept has ended."""
        self._linked.pop(peer_id, None)


class Told:
    """The messages that were told already, and the places of new ones."""

    def __init__(self) -> None:
        self._seen: OrderedDict[RecordId, None] = OrderedDict()
        self._last_ms = 0

    def place(self, line: PlainLine, now_ms: int) -> tuple[RecordId, int] | None:
        """The id of a message and its time in ms, which is that of its arrival; None when it is blank or was told.

        One without an id is known by its place in its sender's stream.
        """
        message = plain_message(line.sender_id, line.id or f"{line.sequence} {line.timestamp}")
        if message in self._seen or not line.content.strip():
            return None
        self._seen[message] = None
        if len(self._seen) > MAX_SEEN:
            self._seen.popitem(last=False)
        if self._last_ms - TIE_MS < now_ms <= self._last_ms:
            now_ms = self._last_ms + 1
        self._last_ms = now_ms
        return message, now_ms
