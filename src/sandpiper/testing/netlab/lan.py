"""A LAN: one bridge in a namespace of its own, to which hosts have cables."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import TYPE_CHECKING, ClassVar

from sandpiper.testing.netlab.cable import BRIDGE, Cable
from sandpiper.testing.netlab.commands import NetLabError, nft
from sandpiper.testing.netlab.quality import LinkQuality

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandpiper.testing.netlab.host import Host
    from sandpiper.testing.netlab.namespace import Namespace

# The first address of each LAN is left for its router.
FIRST_HOST = 2

_NO_FILTER = """\
table bridge sandpiper
delete table bridge sandpiper
"""
_FILTER = """\
table bridge sandpiper {
  chain forward {
    type filter hook forward priority 0; policy accept;
    ip daddr 224.0.0.0/4 meta l4proto udp drop
    ip6 daddr ff00::/8 meta l4proto udp drop
  }
}
"""


class Lan:
    """A switched network, without a way out until a router serves it. Made by :meth:`NetLab.lan`."""

    isolated: ClassVar[bool] = False
    """Whether hosts hear each other only through the gateway."""
    sysctls: ClassVar[Mapping[str, str]] = {}
    """Settings of the namespace, paths below /proc/sys/net."""

    def __init__(self, namespace: Namespace, number: int, subnet: IPv4Network, subnet6: IPv6Network | None) -> None:
        """Describe a LAN; `number` is unique in the lab."""
        self.name = namespace.name
        self.namespace = namespace
        self.subnet = subnet
        self.subnet6 = subnet6
        self.gateway: IPv4Address | None = None
        """Where the default route of whoever attaches now leads to."""
        self._number = number
        self._cables: dict[str, Cable] = {}
        self._last_cable = 0

    def create(self, *, snooping: bool) -> None:
        """Make the namespace and its bridge, which itself stays silent and without addresses. Raises NetLabError."""
        self.namespace.create(self.sysctls)
        switch = int(snooping)
        self.namespace.ip(
            [
                f"link add {BRIDGE} type bridge mcast_snooping {switch} mcast_querier {switch}",
                f"link set {BRIDGE} addrgenmode none",
                f"link set {BRIDGE} up",
            ],
            step=f"make the bridge of {self.name}",
        )

    def snooping(self, on: bool) -> None:
        """Switch IGMP and MLD snooping (with a querier): the bridge then sends a group's traffic to its members only.

        Off when the LAN is made, unless asked for. The kernel begins to filter about 10 s after its first query, and
        always floods 224.0.0.0/24.

        Raises:
            NetLabError: the bridge refused.
        """
        switch = int(on)
        words = f"link set {BRIDGE} type bridge mcast_snooping {switch} mcast_querier {switch}"
        self.namespace.ip([words], step=f"switch multicast snooping on {self.name}")

    def filter_multicast(self, on: bool) -> None:
        """Drop all UDP multicast between hosts, IPv4 and IPv6, as many company and guest networks do; or stop that.

        Everything else passes, so ARP and neighbour discovery work.

        Raises:
            NetLabError: nft is not installed, or the kernel can not filter bridges.
        """
        script = _NO_FILTER + (_FILTER if on else "")
        nft(self.namespace.netns, script, step=f"filter multicast on {self.name}")

    def link_quality(
        self,
        host: Host,
        *,
        delay_ms: float = 0.0,
        loss: float = 0.0,
        rate_mbit: float | None = None,
        seed: int | None = None,
    ) -> None:
        """Set the quality of a host's cable (see :class:`LinkQuality`); without values the cable is perfect again.

        The host's interface keeps running, and a quality stays with the cable while it is unplugged. The n-th UDP
        frame after this call meets the same fate for the same seed.

        Raises:
            NetLabError: a value is out of range, the host is not on this LAN, or it can not be done here.
        """
        self.cable_of(host.name).set_quality(LinkQuality(delay_ms, loss, rate_mbit, seed))

    def cable_of(self, host: str) -> Cable:
        """Give the cable of a host on this LAN. Raises NetLabError when it has none."""
        try:
            return self._cables[host]
        except KeyError:
            raise NetLabError(
                f"The host {host} is not on the LAN {self.name} (there: {', '.join(self._cables) or 'nobody'}). "
                f"Attach it first: host.attach(lan)."
            ) from None

    def new_cable(self, host: Namespace, interface: str, address: str | None) -> Cable:
        """Lay a cable for a host, not yet plugged; `address` is IPv4, by default the first free one.

        Raises:
            NetLabError: the host has one already, or the address is taken, impossible, or none is left.
        """
        if host.name in self._cables:
            raise NetLabError(f"The host {host.name} is on the LAN {self.name} already. Use its cable, or detach it.")
        ipv4 = self._free_address() if address is None else self._checked(address)
        ipv6 = None
        if self.subnet6 is not None:
            part = int(ipv4) - int(self.subnet.network_address)
            ipv6 = IPv6Interface((IPv6Address(int(self.subnet6.network_address) + part), self.subnet6.prefixlen))
        self._last_cable += 1
        cable = Cable(
            host,
            self.namespace,
            interface=interface,
            number=self._last_cable,
            address=IPv4Interface((ipv4, 32 if self.isolated else self.subnet.prefixlen)),
            address6=ipv6,
            mac=self.mac(self._last_cable),
            gateway=self.gateway,
            isolated=self.isolated,
        )
        self._cables[host.name] = cable
        return cable

    def mac(self, number: int) -> str:
        """Give the hardware address of a cable (from 1 on); 0 is the bridge's own, where it takes part."""
        return ((0x02_53_50 << 24) | (self._number & 0xFF) << 16 | (number & 0xFFFF)).to_bytes(6, "big").hex(":")

    def forget_cable(self, host: str) -> None:
        """Take a removed cable out of the books; its address is free again."""
        self._cables.pop(host, None)

    def _taken(self) -> set[IPv4Address]:
        """Give the addresses that hosts have here."""
        return {cable.address.ip for cable in self._cables.values()}

    def _free_address(self) -> IPv4Address:
        """Find the first free address. Raises NetLabError when none is left."""
        taken = self._taken()
        for part in range(FIRST_HOST, self.subnet.num_addresses - 1):
            address = self.subnet.network_address + part
            if address not in taken:
                return address
        raise NetLabError(f"The LAN {self.name} has no free address left in {self.subnet}. Give it a wider subnet.")

    def _checked(self, text: str) -> IPv4Address:
        """Read an address that the caller chose. Raises NetLabError when it can not be used here."""
        try:
            address = IPv4Address(text)
        except ValueError as error:
            raise NetLabError(f"{text!r} is not an IPv4 address: {error}. Give one of {self.subnet}.") from error
        ends = (self.subnet.network_address, self.subnet.broadcast_address)
        if address not in self.subnet or address in ends or address in self._taken():
            raise NetLabError(
                f"The address {address} can not be used on the LAN {self.name}: it is taken, or no host address of "
                f"{self.subnet}. Choose another, or leave it out."
            )
        return address
