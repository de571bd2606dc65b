"""A real miniupnpd on a router of the lab: it speaks PCP, NAT-PMP and UPnP, and maps ports with nftables."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import uuid
from typing import TYPE_CHECKING

from typing_extensions import override

from tests.process import Process

if TYPE_CHECKING:
    from sandpiper.testing.netlab import Router

PROGRAM = shutil.which("miniupnpd", path=os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"]))
MISSING = None if PROGRAM else "miniupnpd is not installed (Debian: miniupnpd-nftables)"

# miniupnpd fills the chains that begin with mapped_. The lab's own rules must let through what was mapped.
_TABLE = """
table inet mapped {
  chain forward { type filter hook forward priority 0; policy accept; jump mapped_forward; }
  chain prerouting { type nat hook prerouting priority -100; policy accept; jump mapped_in; }
  chain postrouting { type nat hook postrouting priority 90; policy accept; jump mapped_out; }
  chain mapped_forward { }
  chain mapped_in { }
  chain mapped_out { }
}
insert rule ip sandpiper through ct status dnat accept
"""


class Upnpd(Process[str]):
    """On a router, for those on its second network. `pmp`: PCP and NAT-PMP are spoken, `upnp`: UPnP is."""

    def __init__(self, router: Router, *, pmp: bool = True, upnp: bool = True) -> None:
        assert PROGRAM is not None
        inside = router.lans[1]
        router.run(["nft", "-f", "-"], input=_TABLE, check=True)
        config = router.home / "miniupnpd.conf"
        config.write_text(
            f"ext_ifname={router.interface()}\nlistening_ip={router.interface(inside)}\n"
            f"enable_natpmp={'yes' if pmp else 'no'}\nenable_upnp={'yes' if upnp else 'no'}\nsecure_mode=yes\n"
            "upnp_table_name=mapped\nupnp_nat_table_name=mapped\nupnp_forward_chain=mapped_forward\n"
            "upnp_nat_chain=mapped_in\nupnp_nat_postrouting_chain=mapped_out\n"
            f"uuid={uuid.uuid4()}\nallow 1024-65535 {inside.subnet} 1024-65535\ndeny 0-65535 0.0.0.0/0 0-65535\n",
            encoding="ascii",
        )
        self.router = router
        self.lines: list[str] = []
        words = [PROGRAM, "-d", "-f", str(config), "-P", str(router.home / "miniupnpd.pid")]
        super().__init__(router.popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
        self.follow(self._read)
        signs = ["Listening for NAT-PMP"] * pmp + ["HTTP listening"] * upnp
        self.until(lambda me: all(sign in me.told() for sign in signs), "that it listens")

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()

    @override
    def told(self) -> str:
        return "".join(self.lines[-200:])

    def mapped(self) -> set[int]:
        """The outside ports that it passes on now."""
        rules = self.router.run(["nft", "list", "chain", "inet", "mapped", "mapped_in"], check=True).stdout
        return {int(port) for port in re.findall(r"dport (\d+) dnat", rules)}
