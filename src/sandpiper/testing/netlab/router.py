"""A router: a host with one cable to the world and others to the LANs that it serves, between which it translates."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from sandpiper.testing.netlab.commands import NetLabError, nft
from sandpiper.testing.netlab.host import Host

if TYPE_CHECKING:
    from sandpiper.testing.netlab.lan import Lan
    from sandpiper.testing.netlab.rules import NatRules


class Router(Host):
    """A router with NAT. Made by :meth:`NetLab.router`.

    Its first network is the one outside: the internet, or, behind a carrier's NAT, the carrier's. :meth:`Host.address`
    is thus the address that the world sees, and pulling that cable cuts off everybody inside.
    """

    forwards: ClassVar[bool] = True

    def obey(self, rules: NatRules) -> None:
        """Treat packets by these rules from now on; connections that exist keep their mappings.

        Raises:
            NetLabError: the router is on no network, nft is not installed, or the kernel can not translate addresses.
        """
        nft(self.netns, rules.script(self.interface()), step=f"set the rules of {self.name}")

    def serve(self, lan: Lan) -> None:
        """Become the gateway of a LAN, at its first address: who attaches from now on has a default route.

        Raises:
            NetLabError: the LAN has a gateway already.
        """
        if lan.gateway is not None:
            raise NetLabError(f"The LAN {lan.name} has the gateway {lan.gateway} already. A LAN has one router here.")
        first = lan.subnet.network_address + 1
        self.attach(lan, address=str(first))
        lan.gateway = first
