"""A host: a network namespace with its own home folder, on any number of LANs, with cables to pull."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, ClassVar

from sandpiper.testing.netlab.commands import NetLabError, nft
from sandpiper.testing.netlab.namespace import Namespace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sandpiper.testing.netlab.cable import Cable
    from sandpiper.testing.netlab.lan import Lan

# Addresses made by IPv6 itself may be used at once, without the second that duplicate detection takes.
_SYSCTLS6 = {"ipv6/conf/all/accept_dad": "0", "ipv6/conf/default/accept_dad": "0"}


class Host(Namespace):
    """A machine on the LANs of the lab, with loopback, and a default route where a router serves the LAN.

    Made by :meth:`NetLab.host`.

    Its :attr:`env` names a temporary folder of its own as SANDPIPER_HOME, which exists, and goes with the lab.
    Where a LAN may be left out, the host's first one is meant.
    """

    forwards: ClassVar[bool] = False
    """Whether it passes on what is for others. A host never does, whatever setting it inherits from the machine."""

    def __init__(self, name: str, netns: str, folder: Path) -> None:
        """Describe a host; `folder` is its own, and made by :meth:`prepare`. `home` is what SANDPIPER_HOME names."""
        self.home = folder / "home"
        super().__init__(name, netns, {"SANDPIPER_HOME": str(self.home)})
        self._plugs: dict[str, tuple[Lan, Cable]] = {}

    def prepare(self, *, ipv6: bool) -> None:
        """Make the namespace and the home folder. Raises NetLabError."""
        self.home.mkdir(parents=True)
        sysctls = {"ipv4/ip_forward": str(int(self.forwards))}
        self.create(sysctls | _SYSCTLS6 if ipv6 else sysctls)

    @property
    def lans(self) -> tuple[Lan, ...]:
        """The LANs this host is attached to, first one first."""
        return tuple(lan for lan, _cable in self._plugs.values())

    def address(self, lan: Lan | None = None) -> str:
        """Give the IPv4 address on a LAN. Raises NetLabError when the host is not on it."""
        return str(self._cable(lan).address.ip)

    def address6(self, lan: Lan | None = None) -> str:
        """Give the IPv6 (ULA) address on a LAN. Raises NetLabError when the host or the LAN has none."""
        found = self._cable(lan).address6
        if found is None:
            raise NetLabError(f"The LAN of {self.name} has no IPv6. Make it with ipv6=True.")
        return str(found.ip)

    def interface(self, lan: Lan | None = None) -> str:
        """Give the name of the interface on a LAN (eth0, eth1, …). Raises NetLabError when the host is not on it."""
        return self._cable(lan).interface

    # -- cables -------------------------------------------------------------------------------------------------------

    def attach(self, lan: Lan, *, address: str | None = None) -> str:
        """Join a LAN with a new interface, and give the interface's name; `address` is by default the first free one.

        Raises:
            NetLabError: the host is on that LAN already, or the address can not be used.
        """
        used = {cable.interface for _lan, cable in self._plugs.values()}
        interface = next(name for name in map("eth{}".format, itertools.count()) if name not in used)
        cable = lan.new_cable(self, interface, address)
        try:
            cable.plug()
        except NetLabError:
            lan.forget_cable(self.name)
            raise
        self._plugs[lan.name] = (lan, cable)
        return interface

    def detach(self, lan: Lan) -> None:
        """Leave a LAN for good: the interface goes away and its address is free again. Raises NetLabError."""
        self._cable(lan).remove()
        lan.forget_cable(self.name)
        del self._plugs[lan.name]

    def cable(self, lan: Lan | None = None, *, up: bool) -> None:
        """Pull the cable (the interface stays, with its addresses, and sees NO-CARRIER), or put it back.

        Raises:
            NetLabError: the host is not on that LAN, or the interface is unplugged.
        """
        self._cable(lan).set_carrier(up)

    def carrier(self, lan: Lan | None = None) -> bool:
        """Tell whether the interface is there and sees a carrier. Raises NetLabError when not on that LAN."""
        return self._cable(lan).carrier()

    def unplug(self, lan: Lan | None = None) -> None:
        """Make the interface vanish, like a network adapter pulled out; its name and addresses are kept for it.

        Raises:
            NetLabError: the host is not on that LAN.
        """
        self._cable(lan).unplug()

    def plug(self, lan: Lan | None = None) -> None:
        """Bring an unplugged interface back, with its name, addresses and a carrier. Raises NetLabError."""
        self._cable(lan).plug()

    @contextlib.contextmanager
    def unplugged(self, lan: Lan | None = None) -> Iterator[None]:
        """Keep the interface on one LAN away for the block, or, without a LAN, all interfaces of the host.

        Raises:
            NetLabError: the host is not on that LAN.
        """
        away = [self._cable(lan)] if lan is not None else [cable for _lan, cable in self._plugs.values()]
        away = [cable for cable in away if cable.plugged]
        try:
            for cable in away:
                cable.unplug()
            yield
        finally:
            attached = [cable for _lan, cable in self._plugs.values()]
            for cable in away:
                if cable in attached:
                    cable.plug()

    # -- firewall -----------------------------------------------------------------------------------------------------

    def firewall(self, *, tcp: bool = False, udp: bool = False, multicast: bool = False) -> None:
        """Silently drop inbound TCP connections, inbound UDP, UDP multicast in and out; each call replaces the last.

        As in a usual desktop firewall answers to what the host itself began still pass, and so does loopback. Without
        arguments the firewall is off.

        Raises:
            NetLabError: nft is not installed, or the kernel can not do it.
        """
        groups = ["ip daddr 224.0.0.0/4 meta l4proto udp drop", "ip6 daddr ff00::/8 meta l4proto udp drop"]
        inbound = ["iif lo accept"]
        inbound += groups if multicast else []
        inbound += ["ct state established,related accept"] if tcp or udp else []
        inbound += ["meta l4proto tcp drop"] if tcp else []
        inbound += ["meta l4proto udp drop"] if udp else []
        outbound = ["oif lo accept", *groups] if multicast else []
        script = "table inet sandpiper\ndelete table inet sandpiper\n"
        if tcp or udp or multicast:
            script += "table inet sandpiper {\n"
            for hook, rules in (("input", inbound), ("output", outbound)):
                lines = [f"type filter hook {hook} priority 0; policy accept;", *rules]
                script += f"chain {hook} {{\n" + "".join(f"  {line}\n" for line in lines) + "}\n"
            script += "}\n"
        nft(self.netns, script, step=f"set the firewall of {self.name}")

    def _cable(self, lan: Lan | None) -> Cable:
        """Give the cable to a LAN, by default the first. Raises NetLabError when the host has none there."""
        if lan is not None:
            return lan.cable_of(self.name)
        for _lan, cable in self._plugs.values():
            return cable
        raise NetLabError(f"The host {self.name} is on no LAN. Attach it first: host.attach(lan).")
