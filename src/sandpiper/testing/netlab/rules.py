"""What a router lets through and how it translates addresses, as nftables rules: the NATs that people sit behind.

How the kernel's masquerading shows from outside, with the words of RFC 4787 in brackets: it keeps the port of what it
translates where it can, whatever the destination (endpoint-independent mapping), and lets in only what answers (address
and port-dependent filtering), so it is a *port-restricted cone*. With `fully-random` it draws a port for each
connection (address and port-dependent mapping), so it is *symmetric*.
"""

from __future__ import annotations

from dataclasses import dataclass

from sandpiper.testing.netlab.commands import NetLabError

TABLE = "sandpiper"
_PORTS = 1 << 16


@dataclass(frozen=True, slots=True)
class NatRules:
    """How a router treats what goes out, and what comes from outside without having been asked for.

    `symmetric`: each connection gets a random port outside, so that no peer can foretell it. `refuses`: what comes
    unasked is answered (RST to TCP, an ICMP error to the rest); else it is dropped without a word. `udp`: whether UDP
    passes at all. `tcp_ports`: the only destination ports to which TCP goes out (none: all), as where nothing but the
    web is allowed.

    Raises:
        NetLabError: a port is none.
    """

    symmetric: bool = False
    refuses: bool = False
    udp: bool = True
    tcp_ports: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Check the ports."""
        for port in self.tcp_ports:
            if not 0 < port < _PORTS:
                raise NetLabError(f"{port} is no TCP port. Give ports from 1 to {_PORTS - 1}, or none for all.")

    def script(self, outside: str) -> str:
        """Give the nftables script for a router whose interface `outside` leads to the world."""
        how = " random,fully-random" if self.symmetric else ""
        through = [] if self.udp else [f'iifname "{outside}" meta l4proto udp drop']
        through += [] if self.udp else [f'oifname "{outside}" meta l4proto udp drop']
        through += ["ct state established,related accept", f'iifname "{outside}" goto unasked']
        if self.tcp_ports:
            allowed = ", ".join(map(str, self.tcp_ports))
            through.append(f'oifname "{outside}" meta l4proto tcp tcp dport != {{ {allowed} }} drop')
        inwards = ["ct state established,related accept", f'iifname "{outside}" goto unasked']
        unasked = ["meta l4proto tcp reject with tcp reset", "reject"] if self.refuses else ["drop"]
        chains = {
            "unasked": unasked,
            "outwards": [
                "type nat hook postrouting priority srcnat; policy accept;",
                f'oifname "{outside}" masquerade{how}',
            ],
            "through": ["type filter hook forward priority filter; policy accept;", *through],
            "inwards": ["type filter hook input priority filter; policy accept;", *inwards],
        }
        lines = [f"table ip {TABLE}", f"delete table ip {TABLE}", f"table ip {TABLE} {{"]
        for name, rules in chains.items():
            lines += [f"  chain {name} {{", *(f"    {rule}" for rule in rules), "  }"]
        return "\n".join([*lines, "}", ""])


CONE = NatRules()
"""A port-restricted cone, as most routers at home are: TCP and UDP can be punched through."""
SYMMETRIC = NatRules(symmetric=True)
"""Another port for each destination, as many carriers and companies have it."""
REFUSING = NatRules(refuses=True)
"""A cone that answers RST to a SYN that comes too early, so that whoever punches must try again."""
UDP_BLOCKED = NatRules(udp=False)
"""A cone through which no UDP goes."""
WEB_ONLY = NatRules(udp=False, tcp_ports=(80, 443))
"""Nothing but TCP to ports 80 and 443 gets out."""
