"""The member's side of codes: which are open, who is trying one, how many guessed wrong, who may come in. Pure.

One attempt at a time for each code. Wrong guesses are counted by every member for itself and told to the others, as
numbers that only grow, so that what is told twice or late changes nothing; at `MAX_GUESSES` in all the code burns.
Page: docs/protocol/admission.md.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from sandpiper.core.codekeeping import ClosedCode, CodeChange, KeptCode, KeptEnd, OpenCode, Reason, Unkept
from sandpiper.core.rate import Bucket
from sandpiper.crypto.pake import Secret
from sandpiper.errors import LocalProtocolError
from sandpiper.wire.admission import (
    CODE_ID_BYTES,
    LOCK_BYTES,
    MAX_CODE_SECONDS,
    MAX_GUESSES,
    SALT_BYTES,
    Asks,
    CodeClosed,
    CodeFrame,
    CodeGuessed,
    CodeOpen,
    Declined,
    Guesses,
    NotAdmitted,
)
from sandpiper.wire.ids import PeerKey, RoomId
from sandpiper.wire.text import clean_nick

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sandpiper.core.events import Now
    from sandpiper.crypto.codes import Code

CODE_SECONDS = 24 * 3600.0  # how long a code lives unless somebody says otherwise, as in the founding project
MAX_CODES = 256  # open ones of others, in all rooms; more are not answered for
MAX_CODES_A_ROOM = 32  # of others: a room that invites in earnest has one or two
MAX_OWN_CODES = 4  # in one room; each is three more guesses for everybody, so a further one takes the oldest's place
OPEN_RATE, OPEN_BURST = 0.2, 64.0  # codes a second that one member may tell of: each is passed on to all others
MAX_CLOSED = 1024  # closed ones that are remembered, so that a member who was away does not open them again
CLOSED_SECONDS = 600.0  # whoever still has the code tries it soon; for longer a nameplate is not taken up
MAX_WAITING = 64  # joiners that have proven the code and have not asked yet
ASK_SECONDS = 10.0  # in which they must: it is one frame

_REASONS: dict[str, Reason] = {
    "code_burnt": "code_burnt", "code_withdrawn": "code_withdrawn", "code_expired": "code_expired",
}  # fmt: skip

# ---------------------------------------------------------------- what comes out


class Tell(Struct, frozen=True):
    """Offer `frame` to the linked members of `room`: to one of them, or to all but one. Best effort."""

    room: RoomId
    frame: CodeFrame
    to: PeerKey | None = None
    without: PeerKey | None = None


class Let(Struct, frozen=True):
    """Let `peer` into `room`: sign its admission, then send `Admitted` and the roster over the link of `attempt`."""

    attempt: int
    room: RoomId
    peer: PeerKey
    nick: str


class Decline(Struct, frozen=True):
    """Send `frame` over the link of `attempt`, then close it."""

    attempt: int
    frame: Declined


class CodeTried(Struct, frozen=True):
    """To tell: somebody guessed wrong. `left` wrong guesses more burn the code."""

    room: RoomId
    nameplate: str
    left: int


class CodeEnded(Struct, frozen=True):
    """To tell: a code lets nobody in any more, and why."""

    room: RoomId
    nameplate: str
    reason: Reason


AdmissionEffect = Tell | Let | Decline | CodeTried | CodeEnded


class Attempt(Struct, frozen=True):
    """One joiner's try of one code. Its `repr` shows no secret."""

    number: int
    room: RoomId
    nameplate: str
    secret: Secret
    salt: bytes
    """For the joiner, when the room has a password."""


class _Trying(Struct, frozen=True):
    code: bytes
    room: RoomId


class _Waiting(Struct, frozen=True):
    code: bytes
    room: RoomId
    peer: PeerKey
    until: float


class OpenCodes:
    """All codes that this member answers for, in all its rooms.

    `refusal(room, peer)` says why a key may not become a member of a room (`room_full`, `banned`; empty: it may).
    `stands(room, after)` whether a code holds whose issuer knew these control records; None: that cannot be told yet.
    The caller has checked that whoever tells of a code (`told`) is a member of the room that it names.
    """

    def __init__(
        self,
        me: PeerKey,
        refusal: Callable[[RoomId, PeerKey], str] = lambda _room, _peer: "",
        stands: Callable[[RoomId, tuple[bytes, ...]], bool | None] = lambda _room, _after: True,
    ) -> None:
        self._me = me
        self._refusal = refusal
        self._stands = stands
        self._open: OrderedDict[bytes, OpenCode] = OrderedDict()
        self._closed: OrderedDict[bytes, ClosedCode] = OrderedDict()
        self._trying: dict[int, _Trying] = {}
        self._waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self._rates: OrderedDict[PeerKey, Bucket] = OrderedDict()
        self._number = 0
        self._unkept: dict[bytes, None] = {}  # codes that have changed since the disk has them

    # ------------------------------------------------------------ what a restart must not change

    def restore(self, kept: Iterable[KeptCode | KeptEnd], now: Now) -> None:
        """Take in what the disk has: once, before anything else. What has ended meanwhile is left out; no clock that
        was set back makes a code live longer than it was to live when it was made.
        """
        for one in kept:
            left = min(one.ends - now.wall_ms, MAX_CODE_SECONDS * 1000)
            if isinstance(one, KeptEnd):
                ends, reason = now.mono + left / 1000, _REASONS.get(one.reason, "code_withdrawn")
                why_until = ends - MAX_CODE_SECONDS + CLOSED_SECONDS
                self._closed[one.id] = ClosedCode(one.room, one.nameplate, reason, ends, one.relay, why_until, one.ends)
            elif left > 0:
                code = structs.replace(one.told, left=min(left, one.told.left), wrong=())
                self._add(code, now, mine=one.mine).learn(one.told.wrong)
        self._unkept.clear()

    def unkept(self) -> tuple[CodeChange, ...]:
        """What has changed since `kept` was called last: to be on the disk before anybody is told."""
        return tuple(map(self._change, self._unkept))

    def kept(self, changes: Iterable[CodeChange]) -> None:
        """These are on the disk."""
        for change in changes:
            self._unkept.pop(change.id, None)

    def _change(self, code_id: bytes) -> CodeChange:
        code, closed = self._open.get(code_id), self._closed.get(code_id)
        if code is not None:
            return KeptCode(structs.replace(code.told, wrong=code.guesses()), int(code.ends[1]), code.mine)
        if closed is not None:
            return KeptEnd(code_id, closed.room, closed.nameplate, closed.relay, closed.reason, closed.until)
        return Unkept(code_id)

    # ------------------------------------------------------------ opening and closing

    def issue(
        self,
        code: Code,
        room: RoomId,
        code_id: bytes,
        now: Now,
        *,
        seconds: float = CODE_SECONDS,
        salt: bytes = b"",
        lock: bytes = b"",
        relay: str = "",
        after: tuple[bytes, ...] = (),
    ) -> list[AdmissionEffect]:
        """Open a code of our own and tell the members. `code_id` is 8 random bytes; `salt` and `lock` belong to the
        room's password, if it has one; `relay` is where the nameplate was given out, `after` the newest control records
        of the room.
        """
        if len(code_id) != CODE_ID_BYTES or code_id in self._open or not 0 < seconds <= MAX_CODE_SECONDS:
            raise LocalProtocolError("a code needs an id of its own and a life of at most a week")
        if (len(salt), len(lock)) not in ((0, 0), (SALT_BYTES, LOCK_BYTES)):
            raise LocalProtocolError("a room's password has a salt and a lock")
        told = CodeOpen(room, code_id, code.nameplate, code.words, int(seconds * 1000), salt, lock, relay, (), after)
        out: list[AdmissionEffect] = []
        mine = [known for known in self._open.values() if known.mine and known.told.room == room]
        if len(mine) >= MAX_OWN_CODES:
            out += self._close(mine[0], "code_withdrawn", now)
        self._add(told, now, mine=True)
        return [*out, Tell(room, told)]

    def withdraw(self, room: RoomId, nameplate: str, now: Now) -> list[AdmissionEffect]:
        """Close the codes of `room` with this nameplate, whoever opened them, and tell the members."""
        found = [code for code in self._open.values() if (code.told.room, code.told.nameplate) == (room, nameplate)]
        return [effect for code in found for effect in self._close(code, "code_withdrawn", now)]

    def nameplates(self, room: RoomId, now: Now) -> tuple[tuple[str, str], ...]:
        """Under which nameplates (and where: relay) joiners of `room` must find somebody now."""
        return tuple(
            (code.told.nameplate, code.told.relay)
            for code in self._open.values()
            if code.told.room == room and not code.over(now)
        )

    def shut(self, room: RoomId, now: Now) -> tuple[tuple[str, str], ...]:
        """As `nameplates`, for codes that were closed of late: whoever comes with one is told why not."""
        return tuple(
            (closed.nameplate, closed.relay)
            for closed in self._closed.values()
            if closed.room == room and now.mono < closed.told
        )

    def roster_changed(self, room: RoomId, now: Now, *, inside: bool) -> list[AdmissionEffect]:
        """Close the codes that whoever was put out may know; `inside` false: that is us."""
        if not inside:
            self.forget_room(room)
        ended = [code for code in self._open.values() if code.room == room and self._is_over(code)]
        return [effect for code in ended for effect in self._close(code, "code_withdrawn", now)]

    def _is_over(self, code: OpenCode) -> bool:
        return self._stands(code.room, code.told.after) is False

    def _doubt(self, code: OpenCode) -> bool:
        return self._stands(code.room, code.told.after) is not True

    def forget_room(self, room: RoomId) -> None:
        """We are no member any more: answer for none of its codes."""
        for code_id in [i for i, code in self._open.items() if code.told.room == room]:
            del self._open[code_id]
            self._unkept[code_id] = None
        for number in [n for n, waiting in self._waiting.items() if waiting.room == room]:
            del self._waiting[number]

    def linked(self, peer: PeerKey, room: RoomId, now: Now) -> list[AdmissionEffect]:
        """A member of `room` is linked: it hears of all open codes."""
        return [
            Tell(room, self._as_told(code, now), to=peer)
            for code in self._open.values()
            if code.told.room == room and not code.over(now)
        ]

    def told(self, peer: PeerKey, frame: CodeFrame, now: Now) -> list[AdmissionEffect]:
        """A member of the room that `frame` names says something about a code."""
        closed = self._closed.get(frame.id)
        if closed is not None:
            if closed.room == frame.room and not isinstance(frame, CodeClosed):
                return [Tell(closed.room, CodeClosed(closed.room, frame.id, closed.reason), to=peer)]
            return []
        known = self._open.get(frame.id)
        if known is not None and known.told.room != frame.room:
            return []  # a member of one room has no say in another
        if isinstance(frame, CodeOpen):
            return self._told_open(peer, frame, known, now)
        if known is None:
            return []
        if isinstance(frame, CodeGuessed):
            return self._counted(known, frame.wrong, peer, now)
        return self._close(known, _REASONS.get(frame.reason, "code_withdrawn"), now, without=peer)

    def _told_open(self, peer: PeerKey, frame: CodeOpen, known: OpenCode | None, now: Now) -> list[AdmissionEffect]:
        out: list[AdmissionEffect] = []
        if known is None:
            if not self._room_for(peer, frame, now):
                return []
            known = self._add(frame, now, mine=False)
            if self._is_over(known):  # whoever tells of it has not heard of the removal
                return self._close(known, "code_withdrawn", now)
            out.append(Tell(known.room, self._as_told(known, now), without=peer))
        return out + self._counted(known, frame.wrong, peer, now)

    def _add(self, told: CodeOpen, now: Now, *, mine: bool) -> OpenCode:
        ends = now.mono + told.left / 1000, float(now.wall_ms + told.left)
        code = self._open[told.id] = OpenCode(told, ends, mine=mine)
        self._unkept[told.id] = None
        return code

    def _room_for(self, peer: PeerKey, frame: CodeOpen, now: Now) -> bool:
        """Whether one more code of others is answered for."""
        others = [code.told.room for code in self._open.values() if not code.mine]
        if not frame.left or len(others) >= MAX_CODES or others.count(frame.room) >= MAX_CODES_A_ROOM:
            return False
        rate = self._rates.setdefault(peer, Bucket(OPEN_RATE, OPEN_BURST, now.mono))
        self._rates.move_to_end(peer)
        while len(self._rates) > MAX_CODES:
            self._rates.popitem(last=False)
        return rate.take(now.mono)

    def _as_told(self, code: OpenCode, now: Now) -> CodeOpen:
        told = code.told
        left = int(max(0.0, min((code.ends[0] - now.mono) * 1000, code.ends[1] - now.wall_ms)))
        return CodeOpen(
            told.room,
            told.id,
            told.nameplate,
            told.words,
            left,
            told.salt,
            told.lock,
            told.relay,
            code.guesses(),
            told.after,
        )

    def _close(self, code: OpenCode, reason: Reason, now: Now, without: PeerKey | None = None) -> list[AdmissionEffect]:
        told = code.told
        self._open.pop(told.id, None)
        ends, until = now.mono + MAX_CODE_SECONDS, now.wall_ms + MAX_CODE_SECONDS * 1000
        told_until = now.mono + CLOSED_SECONDS
        self._closed[told.id] = ClosedCode(code.room, told.nameplate, reason, ends, told.relay, told_until, until)
        self._unkept[told.id] = None
        while len(self._closed) > MAX_CLOSED:
            self._unkept[self._closed.popitem(last=False)[0]] = None
        out: list[AdmissionEffect] = []
        if reason != "code_expired":  # of that everybody knows by themselves
            out.append(Tell(code.room, CodeClosed(told.room, told.id, reason), without=without))
        return [*out, CodeEnded(code.room, told.nameplate, reason)]

    # ------------------------------------------------------------ joiners

    def begin(self, nameplate: str, now: Now, given_at: Callable[[str], bool] = lambda _: True) -> Attempt:
        """Somebody wants to join under `nameplate`; `given_at(relay)` false: they come from elsewhere. Every
        attempt that was begun must end with `wrong`, `proven` or `ended`.

        Raises:
            NotAdmitted: no such code, expired, burnt, withdrawn, or another attempt is going on.
        """
        named = [code for code in self._open.values() if code.told.nameplate == nameplate and given_at(code.told.relay)]
        # Our own first: another member cannot put its words in front of ours under the same number.
        live = sorted(
            (code for code in named if not code.over(now)), key=lambda code: (not code.mine, self._doubt(code))
        )
        if not live:
            if named:
                raise NotAdmitted("code_expired")
            reasons = [closed.reason for closed in reversed(self._closed.values()) if closed.nameplate == nameplate]
            raise NotAdmitted(reasons[0] if reasons else "no_such_code")
        code = live[0]
        if self._is_over(code):
            raise NotAdmitted("code_withdrawn")
        if code.busy is not None or self._doubt(code):  # the rest of the roster is on its way
            raise NotAdmitted("busy")
        self._number += 1
        code.busy = self._number
        told = code.told
        self._trying[self._number] = _Trying(told.id, code.room)
        return Attempt(self._number, code.room, nameplate, Secret(told.words, told.lock), told.salt)

    def judge(self, attempt: Attempt, now: Now) -> None:
        """Its proof has come. To be called before that is looked at.

        Raises:
            NotAdmitted: the code was closed meanwhile; the proof must not be looked at.
        """
        trying = self._trying.get(attempt.number)
        closed = self._closed.get(trying.code) if trying is not None else None
        if trying is None or (trying.code not in self._open and (closed is None or closed.reason != "code_expired")):
            raise NotAdmitted(closed.reason if closed is not None else "failed")

    def wrong(self, attempt: Attempt, now: Now) -> list[AdmissionEffect]:
        """It did not know the words. To be called before the joiner is told."""
        trying = self._end(attempt.number)
        code = self._open.get(trying.code) if trying is not None else None
        if code is None:
            return []
        mine = Guesses(self._me, min(MAX_GUESSES, code.counts.get(self._me, 0) + 1))
        return self._counted(code, (mine,), None, now)

    def _counted(
        self, code: OpenCode, counts: tuple[Guesses, ...], teller: PeerKey | None, now: Now
    ) -> list[AdmissionEffect]:
        if not code.learn(counts):
            return []
        told = code.told
        self._unkept[told.id] = None
        left = MAX_GUESSES - code.wrong
        out: list[AdmissionEffect] = [CodeTried(code.room, told.nameplate, max(0, left))]
        if left <= 0:
            return [*out, *self._close(code, "code_burnt", now)]
        return [*out, Tell(code.room, CodeGuessed(told.room, told.id, code.guesses()), without=teller)]

    def proven(self, attempt: Attempt, peer: PeerKey, now: Now) -> list[AdmissionEffect]:
        """It knows the words, and is `peer`; its link is made. It may ask now."""
        trying = self._end(attempt.number)
        if trying is None:
            return []
        self._waiting[attempt.number] = _Waiting(trying.code, trying.room, peer, now.mono + ASK_SECONDS)
        if len(self._waiting) <= MAX_WAITING:
            return []
        number, _ = self._waiting.popitem(last=False)
        return [Decline(number, Declined("failed"))]

    def asked(self, attempt: Attempt, frame: Asks, now: Now) -> list[AdmissionEffect]:
        """The joiner asks to be let in. One answer: `Let` or `Decline`."""
        waiting = self._waiting.pop(attempt.number, None)
        if waiting is None or now.mono >= waiting.until:
            return [Decline(attempt.number, Declined("failed"))]
        closed = self._closed.get(waiting.code)
        if closed is not None and closed.reason != "code_expired":
            return [Decline(attempt.number, Declined(closed.reason))]  # it burnt while this one was proving itself
        reason = self._refusal(waiting.room, waiting.peer)
        if reason:
            return [Decline(attempt.number, Declined(reason))]
        return [Let(attempt.number, waiting.room, waiting.peer, clean_nick(frame.nick))]

    def ended(self, attempt: Attempt) -> None:
        """Its link is gone, or it broke off before it showed what it knows: no guess, and the code is free again."""
        self._end(attempt.number)
        self._waiting.pop(attempt.number, None)

    def _end(self, number: int) -> _Trying | None:
        trying = self._trying.pop(number, None)
        code = self._open.get(trying.code) if trying is not None else None
        if code is not None and code.busy == number:
            code.busy = None
        return trying

    # ------------------------------------------------------------ time

    def deadline(self) -> float | None:
        """When `tick` wants to be called next."""
        times = [code.ends[0] for code in self._open.values()]
        times += [waiting.until for waiting in self._waiting.values()]
        return min(times, default=None)

    def tick(self, now: Now) -> list[AdmissionEffect]:
        """Close what has expired, and forget what nobody will ask for."""
        out: list[AdmissionEffect] = []
        for code in [code for code in self._open.values() if code.over(now)]:
            out += self._close(code, "code_expired", now)
        for number in [n for n, waiting in self._waiting.items() if now.mono >= waiting.until]:
            del self._waiting[number]
            out.append(Decline(number, Declined("failed")))
        for code_id in [i for i, closed in self._closed.items() if now.mono >= closed.ends]:
            del self._closed[code_id]
            self._unkept[code_id] = None
        return out
