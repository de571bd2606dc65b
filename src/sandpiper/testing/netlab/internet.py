"""The public network of a lab: everybody on it has one address and a provider, and nobody shares a cable."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from sandpiper.testing.netlab.cable import BRIDGE
from sandpiper.testing.netlab.commands import nft
from sandpiper.testing.netlab.lan import Lan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sandpiper.testing.netlab.host import Host


class Internet(Lan):
    """A network in which all packets are routed. Made by :meth:`NetLab.internet`.

    Whoever attaches gets one address, with nothing else in its subnet, and a default route. So nobody hears anybody's
    broadcasts and multicast, as on the internet, and nothing there looks like a neighbour. What goes to an address that
    nobody has (a private one, say) vanishes without an answer.
    """

    isolated: ClassVar[bool] = True
    sysctls: ClassVar[Mapping[str, str]] = {
        "ipv4/ip_forward": "1",
        # it forwards out of where a packet came from, and must not tell them to reach each other without it
        "ipv4/conf/all/send_redirects": "0",
        "ipv4/conf/default/send_redirects": "0",
    }

    @override
    def create(self, *, snooping: bool) -> None:
        super().create(snooping=snooping)
        self.gateway = self.subnet.network_address + 1
        self.namespace.ip(
            [
                f"link set {BRIDGE} address {self.mac(0)}",  # else it is that of a port, and another when ports change
                f"addr add {self.gateway}/{self.subnet.prefixlen} dev {BRIDGE}",
                "route add blackhole default",
            ],
            step=f"make {self.name} route",
        )

    def part(self, *pairs: tuple[Host, Host]) -> None:
        """Let nothing through between these, without a word to them; all else passes. Each call replaces the last.

        Raises:
            NetLabError: somebody is not on this network, nft is not installed, or the kernel can not filter.
        """
        lines = []
        for one, other in pairs:
            here, there = one.address(self), other.address(self)
            lines += [f"    ip saddr {here} ip daddr {there} drop", f"    ip saddr {there} ip daddr {here} drop"]
        script = ["table ip sandpiper", "delete table ip sandpiper"]
        if lines:
            hook = "    type filter hook forward priority filter; policy accept;"
            script += ["table ip sandpiper {", "  chain through {", hook, *lines, "  }", "}"]
        nft(self.namespace.netns, "\n".join([*script, ""]), step=f"part hosts on {self.name}")
