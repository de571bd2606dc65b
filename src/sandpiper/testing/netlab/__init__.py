"""A network laboratory: LANs, routers and hosts in network namespaces on one Linux machine, with cables to pull.

For tests of programs that meet over a network, Sandpiper's and those of its bots. Needs root and ``ip`` (iproute2);
``nft`` for filters, firewalls and NAT; where the kernel has no netem, /dev/net/tun for delay, loss and rate. Nothing
leaves the machine, nothing is changed in its own network, and nothing stays behind, also when the test is killed.

>>> from sandpiper.testing.netlab import NetLab
>>> with NetLab() as lab:
...     office = lab.lan("office")
...     a, b = lab.host("a", office), lab.host("b", office)
...     bot = a.popen(["python", "-m", "my_bot"])
...     with b.unplugged():
...         ...

Homes behind NAT, with a public network between them (docs/network-lab.md):

>>> with NetLab() as lab:
...     internet = lab.internet()
...     home = lab.lan("home", ipv6=False)
...     router = lab.router("router", internet, home, rules=SYMMETRIC)
...     a, server = lab.host("a", home), lab.host("server", internet)
...     internet.link_quality(router, delay_ms=20, loss=0.005)

Tests skip where it can not run: ``pytest.mark.skipif(available() is not None, reason=str(available()))``.
"""

from __future__ import annotations

from sandpiper.testing.netlab.commands import NetLabError
from sandpiper.testing.netlab.host import Host
from sandpiper.testing.netlab.internet import Internet
from sandpiper.testing.netlab.lab import NetLab, available
from sandpiper.testing.netlab.lan import Lan
from sandpiper.testing.netlab.quality import LinkQuality
from sandpiper.testing.netlab.router import Router
from sandpiper.testing.netlab.rules import CONE, REFUSING, SYMMETRIC, UDP_BLOCKED, WEB_ONLY, NatRules

__all__ = [
    "CONE",
    "REFUSING",
    "SYMMETRIC",
    "UDP_BLOCKED",
    "WEB_ONLY",
    "Host",
    "Internet",
    "Lan",
    "LinkQuality",
    "NatRules",
    "NetLab",
    "NetLabError",
    "Router",
    "available",
]
