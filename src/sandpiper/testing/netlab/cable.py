"""One cable from a host to a LAN: plugged, pulled, or of bad quality."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from sandpiper.testing.netlab.commands import NetLabError, command, tool
from sandpiper.testing.netlab.quality import LinkQuality, UserSpaceLink, joining, kernel_has_netem, set_netem

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Interface, IPv6Interface

    from sandpiper.testing.netlab.namespace import Namespace

BRIDGE = "br0"
FIRST_METRIC = 100  # of a default route over eth0; the kernel takes the route with the smallest

_PERFECT = LinkQuality()


class Cable:
    """A veth pair between a host's interface and a port of the LAN's bridge.

    Name, hardware address and IP addresses of the interface stay the same over unplugging and plugging.
    """

    def __init__(
        self,
        host: Namespace,
        lan: Namespace,
        *,
        interface: str,
        number: int,
        address: IPv4Interface,
        address6: IPv6Interface | None,
        mac: str,
        gateway: IPv4Address | None = None,
        isolated: bool = False,
    ) -> None:
        """Describe a cable; nothing is made before :meth:`plug`. `number` is unique on the LAN.

        The host gets a default route via `gateway`; who is `isolated` reaches no other host over the bridge itself.
        """
        self.interface = interface
        self.address = address
        self.address6 = address6
        self.plugged = False
        self._host = host
        self._lan = lan
        self._number = number
        self._port = f"p{number}"
        self._mac = mac
        self._gateway = gateway
        self._isolated = isolated
        self._quality = _PERFECT
        self._link: UserSpaceLink | None = None

    def plug(self) -> None:
        """Make the interface appear on the host, with its addresses and a carrier; nothing happens if it is there.

        Raises:
            NetLabError: the kernel refused.
        """
        if self.plugged:
            return
        step = f"plug {self._host.name} into {self._lan.name}"
        peer = f"type veth peer name {self.interface} address {self._mac} netns {self._host.netns}"
        here = [f"addr add {self.address} brd + dev {self.interface}"]
        if self.address6 is None:
            here.append(f"link set {self.interface} addrgenmode none")
        else:
            here.append(f"addr add {self.address6} dev {self.interface} nodad")
        here.append(f"link set {self.interface} up")
        if self._gateway is not None:
            # of two ways out, that of the lower interface; onlink, since it may be outside of the address's own network
            way = f"dev {self.interface} onlink metric {FIRST_METRIC + int(self.interface.removeprefix('eth'))}"
            here.append(f"route add default via {self._gateway} {way}")
        try:
            self._lan.ip(
                [
                    f"link add {self._port} {peer}",
                    *self._joining(BRIDGE if self._link is None else self._link.bridge),
                    f"link set {self._port} up",
                ],
                step=step,
            )
            self._host.ip(here, step=step)
            if self._link is None and not self._quality.perfect:
                self._set_netem(self._quality)
        except NetLabError:
            with contextlib.suppress(NetLabError):  # as far as it got
                self._lan.ip([f"link del {self._port}"], step=step)
            raise
        self.plugged = True

    def unplug(self) -> None:
        """Make the interface vanish from the host, like a network adapter pulled out. Raises NetLabError."""
        if self.plugged:
            self._lan.ip([f"link del {self._port}"], step=f"unplug {self._host.name} from {self._lan.name}")
            self.plugged = False

    def remove(self) -> None:
        """Unplug for good. Raises NetLabError."""
        self.unplug()
        if self._link is not None:
            self._link.remove()
            self._link = None

    def set_carrier(self, up: bool) -> None:
        """Pull the cable at the bridge's end (the host sees NO-CARRIER), or put it back.

        Raises:
            NetLabError: the interface is unplugged.
        """
        step = f"{'put back' if up else 'pull'} the cable from {self._host.name} to {self._lan.name}"
        self._lan.ip([f"link set {self._port} {'up' if up else 'down'}"], step=step)

    def carrier(self) -> bool:
        """Tell whether the host has the interface and sees a carrier on it. Raises NetLabError."""
        if not self.plugged:
            return False
        words = [tool("ip"), "-n", self._host.netns, "-o", "link", "show", "dev", self.interface]
        flags = command(words, step=f"read the state of {self.interface} on {self._host.name}")
        return "LOWER_UP" in flags and "NO-CARRIER" not in flags

    def set_quality(self, quality: LinkQuality) -> None:
        """Give the cable this quality, at once and without touching the host's interface.

        netem shapes where the kernel has it; without it, or when a seed must decide (netem takes none before Linux
        6.6), the cable goes through a user-space link.

        Raises:
            NetLabError: neither can be used here.
        """
        in_user_space = not quality.perfect and (quality.seed is not None or not kernel_has_netem(self._lan.netns))
        if self._link is None and self.plugged and not self._quality.perfect:
            self._set_netem(_PERFECT)
        if in_user_space:
            if self._link is None:
                self._link = UserSpaceLink(self._lan, self._number, BRIDGE, isolated=self._isolated)
                self._join(self._link.bridge)
            self._link.tune(quality)
        else:
            if self._link is not None:
                self._join(BRIDGE)
                self._link.remove()
                self._link = None
            if self.plugged and not quality.perfect:
                self._set_netem(quality)
        self._quality = quality

    def _join(self, bridge: str) -> None:
        """Move the cable's port to another bridge of the LAN's namespace."""
        if self.plugged:
            self._lan.ip(self._joining(bridge), step=f"move the cable of {self._host.name}")

    def _joining(self, bridge: str) -> list[str]:
        """Give the lines that make the cable's port one of a bridge."""
        return joining(self._port, bridge, isolated=self._isolated)

    def _set_netem(self, quality: LinkQuality) -> None:
        """Shape both directions with netem."""
        set_netem(self._lan, self._port, quality)
        set_netem(self._host, self.interface, quality)
