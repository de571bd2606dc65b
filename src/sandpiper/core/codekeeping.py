"""What is known of one code: in memory, and on the disk, so that a restart changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct
from typing_extensions import override

from sandpiper.wire.admission import MAX_GUESSES, CodeOpen, Guesses
from sandpiper.wire.ids import RoomId

if TYPE_CHECKING:
    from sandpiper.core.events import Now


Reason = Literal["code_burnt", "code_withdrawn", "code_expired"]


class OpenCode:
    """A code that may let somebody in."""

    __slots__ = ("busy", "counts", "ends", "mine", "told")

    def __init__(self, told: CodeOpen, ends: tuple[float, float], *, mine: bool) -> None:
        self.told = told
        self.ends = ends  # on both clocks: neither sleep nor a clock set back prolongs it
        self.mine = mine
        self.counts: dict[bytes, int] = {}
        self.busy: int | None = None

    @override
    def __repr__(self) -> str:
        return f"<code of nameplate {self.told.nameplate}>"

    @property
    def room(self) -> RoomId:
        """Where it leads."""
        return RoomId(self.told.room)

    @property
    def wrong(self) -> int:
        """All wrong guesses that are known."""
        return sum(self.counts.values())

    def guesses(self) -> tuple[Guesses, ...]:
        """The same by member."""
        return tuple(Guesses(member, count) for member, count in self.counts.items())

    def learn(self, counts: tuple[Guesses, ...]) -> bool:
        """Take what another member has counted; true when it was news."""
        before = self.wrong
        for count in counts:
            if self.wrong < MAX_GUESSES and count.wrong > self.counts.get(count.member, 0):
                self.counts[count.member] = count.wrong
        return self.wrong > before

    def over(self, now: Now) -> bool:
        """True when its time is up."""
        return now.mono >= self.ends[0] or now.wall_ms >= self.ends[1]


class ClosedCode(Struct, frozen=True):
    """A code that lets nobody in any more, as a member has it in memory."""

    room: RoomId
    nameplate: str
    reason: Reason
    ends: float  # mono: nobody opens it again after that
    relay: str
    told: float  # mono: until then whoever comes with it is told why not
    until: int  # as `ends`, in ms since 1970: for after a restart


class KeptCode(Struct, frozen=True):
    """An open code. `told` has what is known of wrong guesses; its `left` means nothing here: `ends` does, in ms since
    1970. `mine`: it was made here. Its `repr` shows no secret.
    """

    told: CodeOpen
    ends: int
    mine: bool

    @property
    def id(self) -> bytes:
        """The code's own."""
        return self.told.id

    @property
    def room(self) -> RoomId:
        """Where it leads."""
        return RoomId(self.told.room)


class KeptEnd(Struct, frozen=True):
    """A code that lets nobody in any more: without its words, until `ends` (ms since 1970), so that no member who was
    away opens it again.
    """

    id: bytes
    room: RoomId
    nameplate: str
    relay: str
    reason: str
    ends: int


class Unkept(Struct, frozen=True):
    """A code of which nothing is to be kept any more."""

    id: bytes


CodeChange = KeptCode | KeptEnd | Unkept
