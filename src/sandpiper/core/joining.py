"""The joiner's side of a code: trying → proven → admitted, or failed with a reason. Pure.

Every try shows whoever answers one guess's worth of our words, so tries are counted here as guesses are counted at the
members: after three that nobody answered with proof, it is over. What is said before that is nobody's word in
particular: one refusal ends nothing while others may know the code. Page: docs/protocol/admission.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from typing_extensions import override

from sandpiper.core.backoff import Backoff
from sandpiper.errors import LinkTimeout, SandpiperError
from sandpiper.wire.admission import (
    MAX_ADMISSION_BYTES,
    MAX_ADMISSION_RECORDS,
    MAX_GUESSES,
    Admitted,
    Asks,
    Declined,
    JoinFrame,
    NotAdmitted,
    Roster,
    Settled,
    Unproven,
)
from sandpiper.wire.frames import BadFrame
from sandpiper.wire.ids import PeerKey

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable


JOIN_SECONDS = 60.0  # for all tries together: longer, and a person thinks that it hangs
ADMIT_SECONDS = 30.0  # from proof to the last record: up to 8 MiB over a slow relay
RETRY_FIRST, RETRY_MOST = 0.5, 5.0  # seconds between tries
MAX_WRONG = 2  # who say that the words are wrong: the first may be of another room, and a slip must not burn a code
_TELLING = ("wrong_code", "password_needed", "no_password", "code_burnt", "code_withdrawn", "code_expired", "version")

JoinState = Literal["trying", "proven", "admitted", "failed"]


class TryNow(Struct, frozen=True):
    """Reach a member and do the handshake; then call `proven` or `tried`."""


class Say(Struct, frozen=True):
    """Send this over the proven link."""

    frame: Asks | Settled


class Joined(Struct, frozen=True):
    """We are in. `records` are the genesis and the roster as they came: nobody has looked at them yet. Its `repr` shows
    no secret.
    """

    peer: PeerKey
    admitted: Admitted
    records: tuple[bytes, ...]

    @override
    def __repr__(self) -> str:
        return f"<Joined the room {self.admitted.room.hex()}>"

    @override
    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("room", self.admitted.room.hex())]


class GaveUp(Struct, frozen=True):
    """It is over; the error says why and what to do. Close whatever link there is."""

    error: SandpiperError


JoinEffect = TryNow | Say | Joined | GaveUp


class Asked:
    """Whom we have asked for the room of a code, by any name that the owner gives them, and what they said."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}
        self._refusals: dict[str, SandpiperError] = {}

    def tried(self, whom: str) -> None:
        """It is asked (again)."""
        self._times[whom] = self._times.get(whom, 0) + 1

    def refused(self, whom: str, error: SandpiperError) -> None:
        """It says no. Nothing has shown yet that it knows the code."""
        self._refusals[whom] = error

    def left(self, there: Iterable[str]) -> list[str]:
        """Those of `there` that have not refused; whom we asked least comes first."""
        return sorted((one for one in there if one not in self._refusals), key=lambda one: self._times.get(one, 0))

    def verdict(self) -> SandpiperError | None:
        """What all refusals come to: the one that tells most; None: there is none."""
        codes = {error.code: error for error in self._refusals.values()}
        return next((codes[code] for code in (*_TELLING, *codes) if code in codes), None)


class Joining:
    """One joiner and one code. The owner reaches members and runs handshakes; this says what to do next."""

    def __init__(self, nick: str, rng: random.Random, now: float) -> None:
        """`now` in seconds, never going back, here and everywhere."""
        self.state: JoinState = "trying"
        self.shown = 0
        """Tries in which somebody was shown one guess's worth and proved nothing."""
        self._wrong = 0
        self._nick = nick
        self._rng = rng
        self._backoff = Backoff(RETRY_FIRST, RETRY_MOST)
        self._limit = now + JOIN_SECONDS
        self._next: float | None = now
        self._last: SandpiperError | None = None
        self._peer: PeerKey | None = None
        self._admitted: Admitted | None = None
        self._records: list[bytes] = []
        self._bytes = 0

    def deadline(self) -> float | None:
        """When `tick` wants to be called next; None when it is over."""
        if self.state in ("admitted", "failed"):
            return None
        return self._limit if self._next is None else min(self._next, self._limit)

    def tick(self, now: float) -> list[JoinEffect]:
        """Try again, or give up."""
        if self.state in ("admitted", "failed"):
            return []
        if now >= self._limit:
            return self._give_up(self._last or self._too_long())
        if self._next is not None and now >= self._next:
            self._next = None
            return [TryNow()]
        return []

    def tried(self, error: SandpiperError, now: float, *, last: bool = False) -> list[JoinEffect]:
        """A try ended before anything was proven. `last`: nobody is left who might say something else."""
        if self.state != "trying":
            return []
        self._last = error
        self.shown += isinstance(error, Unproven) or error.code == "wrong_code"
        self._wrong += error.code == "wrong_code"
        if last or self._wrong >= MAX_WRONG:
            return self._give_up(error)
        if self.shown >= MAX_GUESSES:
            return self._give_up(NotAdmitted("wrong_code" if self._wrong else "too_many_tries"))
        self._next = now + self._backoff.next(self._rng)
        return self.tick(now)

    def proven(self, peer: PeerKey, now: float) -> list[JoinEffect]:
        """The handshake is done: `peer` knows the code as well. Ask to be let in."""
        if self.state != "trying":
            return []
        self.state, self._peer, self._next = "proven", peer, None
        self._limit = now + ADMIT_SECONDS
        return [Say(Asks(self._nick))]

    def received(self, frame: JoinFrame, now: float) -> list[JoinEffect]:
        """A frame came over the proven link."""
        if self.state != "proven":
            return []
        if now >= self._limit:
            return self._give_up(self._too_long())
        match frame:
            case Declined(code=code):
                return self._give_up(NotAdmitted(code))
            case Admitted() if self._admitted is None:
                self._admitted = frame
                return []
            case Roster(records=records, more=more) if self._admitted is not None:
                return self._take(self._admitted, records, more=more)
            case _:
                return self._give_up(BadFrame("A member sent something else than an admission."))

    def _take(self, admitted: Admitted, records: tuple[bytes, ...], *, more: bool) -> list[JoinEffect]:
        self._bytes += sum(map(len, records))
        if len(self._records) + len(records) > MAX_ADMISSION_RECORDS or self._bytes > MAX_ADMISSION_BYTES:
            return self._give_up(BadFrame("A member sent a roster that is too large to be one."))
        if more and not records:
            return self._give_up(BadFrame("A member sent an empty piece of a roster and promised more."))
        self._records += records
        if more:
            return []
        assert self._peer is not None
        self.state = "admitted"
        joined = Joined(self._peer, admitted, tuple(self._records))
        self._records.clear()
        return [Say(Settled()), joined]

    def lost(self, error: SandpiperError) -> list[JoinEffect]:
        """The proven link ended, or what came over it was wrong."""
        return self._give_up(error) if self.state == "proven" else []

    def _give_up(self, error: SandpiperError) -> list[JoinEffect]:
        self.state = "failed"
        self._records.clear()
        return [GaveUp(error)]

    def _too_long(self) -> SandpiperError:
        if self.state == "proven":
            return LinkTimeout("The member knew the code and did not let us in in time.", hint="Try again.")
        return LinkTimeout("Nobody who knows the code answered in time.", hint="Is a member online? Then try again.")
