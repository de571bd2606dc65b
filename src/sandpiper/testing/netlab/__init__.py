"""A network laboratory: LANs and hosts in network namespaces on one Linux machine, with cables to pull and to spoil.

For tests of programs that meet over a network, Sandpiper's and those of its bots. Needs root and ``ip`` (iproute2);
``nft`` for filters and firewalls; where the kernel has no netem, /dev/net/tun for delay, loss and rate. Nothing leaves
the machine, nothing is changed in its own network, and nothing stays behind, also when the test is killed.

>>> from sandpiper.testing.netlab import NetLab
>>> with NetLab() as lab:
...     office = lab.lan("office")
...     a, b = lab.host("a", office), lab.host("b", office)
...     bot = a.popen(["python", "-m", "my_bot"])
...     with b.unplugged():
...         ...

Tests skip where it can not run: ``pytest.mark.skipif(available() is not None, reason=str(available()))``.
"""

from __future__ import annotations

from sandpiper.testing.netlab.commands import NetLabError
from sandpiper.testing.netlab.host import Host
from sandpiper.testing.netlab.lab import NetLab, available
from sandpiper.testing.netlab.lan import Lan
from sandpiper.testing.netlab.quality import LinkQuality

__all__ = ["Host", "Lan", "LinkQuality", "NetLab", "NetLabError", "available"]
