"""What each address has taken of the rendezvous and the relay, and whether it may have more. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from sandpiper.hub.limits import Pace
from sandpiper.hub.pace import Allowance
from sandpiper.hub.rendezvous.limits import MAX_ADDRESSES

if TYPE_CHECKING:
    from sandpiper.hub.rendezvous.limits import RendezvousSettings

Kind = Literal["guests", "registrations", "codes", "bridges"]
_MIB = 1024 * 1024
_REST = 60.0  # seconds after which an address that holds nothing has all its allowances again


class _Share:
    """One address."""

    __slots__ = ("bridges", "bytes", "codes", "guests", "joins", "last", "registrations")

    def __init__(self, joins: Pace, bytes_: Pace, now: float) -> None:
        self.guests = self.registrations = self.codes = self.bridges = 0
        self.joins = Allowance(joins, now)
        self.bytes = Allowance(bytes_, now)
        self.last = now

    @property
    def free(self) -> bool:
        return not (self.guests or self.registrations or self.codes or self.bridges)


class Quotas:
    """Counts by address. The empty address is this machine's own, behind which all guests of a tunnel stand: it is not
    counted. `now` in seconds.
    """

    def __init__(self, settings: RendezvousSettings) -> None:
        self.settings = settings
        self._joins = Pace(
            settings.joins_a_minute / 60, settings.joins_a_minute
        )  # one for all: there are many addresses
        self._bytes = Pace(settings.address_rate * _MIB, settings.address_burst * _MIB)
        self._shares: dict[str, _Share] = {}
        self._most: dict[Kind, int] = {
            "guests": settings.guests_an_address,
            "registrations": settings.registrations_an_address,
            "codes": settings.codes_an_address,
            "bridges": settings.bridges_an_address,
        }

    def __len__(self) -> int:
        """How many addresses are known."""
        return len(self._shares)

    def take(self, kind: Kind, address: str, now: float) -> bool:
        """One more of it, if the address may have one."""
        if not address:
            return True
        share = self._share(address, now)
        held: int = getattr(share, kind)
        if held >= self._most[kind]:
            return False
        setattr(share, kind, held + 1)
        return True

    def give_back(self, kind: Kind, address: str) -> None:
        """One that was taken."""
        share = self._shares.get(address)
        if share is not None:
            setattr(share, kind, max(0, getattr(share, kind) - 1))

    def join(self, address: str, now: float) -> float:
        """One more room entered: 0, or in how many seconds it may be."""
        if not address:
            return 0.0
        joins = self._share(address, now).joins
        return 0.0 if joins.take(now) else max(0.001, joins.wait(now))

    def relay(self, address: str, count: int, now: float) -> float:
        """So many bytes were taken from it: 0, or for how many seconds no more shall be."""
        if not address:
            return 0.0
        allowance = self._share(address, now).bytes
        allowance.take(now, 0.0)
        allowance.give_back(-count)  # below nothing: what came cannot be sent back
        return allowance.wait(now, 0.0)

    def rest(self, now: float) -> None:
        """Forget who holds nothing and was not here for a while."""
        late = [address for address, share in self._shares.items() if share.free and now - share.last >= _REST]
        for address in late:
            del self._shares[address]

    def _share(self, address: str, now: float) -> _Share:
        share = self._shares.get(address)
        if share is None:
            if len(self._shares) >= MAX_ADDRESSES:
                oldest = next((one for one, share in self._shares.items() if share.free), None)
                if oldest is not None:
                    del self._shares[oldest]
            share = self._shares[address] = _Share(self._joins, self._bytes, now)
        share.last = now
        return share
