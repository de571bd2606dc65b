"""How good a cable is (delay, loss, rate), and the two ways to make it so: the kernel's netem, or a pump of ours."""

from __future__ import annotations

import functools
import select
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandpiper.testing.netlab import pump
from sandpiper.testing.netlab.commands import NetLabError, command, tool
from sandpiper.testing.netlab.pump import Setting

if TYPE_CHECKING:
    from sandpiper.testing.netlab.namespace import Namespace

# Starting a Python interpreter takes tens of milliseconds; on a crowded machine a few seconds.
PUMP_SECONDS = 10.0
# What netem may hold back, in packets: enough for 1 s at 240 Mbit/s of full frames.
NETEM_PACKETS = 20_000


@dataclass(frozen=True, slots=True)
class LinkQuality:
    """What a cable does to frames, the same in each direction.

    `delay_ms` is one way, so a round trip over one such cable takes twice as long; `loss` is the share of frames lost,
    0 to 1; `rate_mbit` is in megabits a second (None = unlimited); with a `seed` the same frames are lost each time.

    Raises:
        NetLabError: a value is out of its range.
    """

    delay_ms: float = 0.0
    loss: float = 0.0
    rate_mbit: float | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        if self.delay_ms < 0:
            raise NetLabError(f"A delay of {self.delay_ms:g} ms is not possible. Give 0 or more milliseconds.")
        if not 0 <= self.loss <= 1:
            raise NetLabError(f"A loss of {self.loss:g} is not possible. Give a share from 0 to 1; 0.05 is 5 %.")
        if self.rate_mbit is not None and self.rate_mbit <= 0:
            raise NetLabError(f"A rate of {self.rate_mbit:g} Mbit/s is not possible. Give more than 0, or None.")

    @property
    def perfect(self) -> bool:
        """Whether this is an ordinary cable, which needs nothing built."""
        return not self.delay_ms and not self.loss and self.rate_mbit is None


def joining(port: str, bridge: str, *, isolated: bool) -> list[str]:
    """Give the lines of ``ip`` that make an interface a port of a bridge; isolated ones do not reach each other."""
    lines = [f"link set {port} master {bridge}"]
    return [*lines, f"link set {port} type bridge_slave isolated on"] if isolated else lines


@functools.cache
def kernel_has_netem(netns: str) -> bool:
    """Tell whether netem can be used, by trying it on the loopback of a namespace of the lab."""
    try:
        tc = [tool("tc"), "-n", netns, "qdisc"]
        command([*tc, "add", "dev", "lo", "root", "netem"], step="try netem")
        command([*tc, "del", "dev", "lo", "root"], step="remove a trial of netem")
    except NetLabError:  # tc is not installed, or the kernel was built without netem
        return False
    return True


def set_netem(namespace: Namespace, interface: str, quality: LinkQuality) -> None:
    """Shape what leaves through one interface with netem; a perfect quality removes it.

    Raises:
        NetLabError: tc refused.
    """
    tc = [tool("tc"), "-n", namespace.netns, "qdisc"]
    step = f"set the quality of {interface} on {namespace.name}"
    # "replace" first, so that there is something to delete: deleting nothing is an error
    words = ["replace", "dev", interface, "root", "netem", "limit", str(NETEM_PACKETS)]
    words += ["delay", f"{quality.delay_ms:f}ms"] if quality.delay_ms else []
    words += ["loss", f"{quality.loss * 100:f}%"] if quality.loss else []
    words += ["rate", f"{quality.rate_mbit * 1e6:.0f}bit"] if quality.rate_mbit is not None else []
    command([*tc, *words], step=step)
    if quality.perfect:
        command([*tc, "del", "dev", interface, "root"], step=step)


class UserSpaceLink:
    """Two TAP interfaces in the LAN's namespace, joined by a pump in a child process.

    One TAP is a port of the LAN's bridge, the other of a small bridge of its own, to which the cable's port is moved:
    the host's own interface, its addresses and its multicast memberships stay untouched.
    """

    def __init__(self, lan: Namespace, number: int, main_bridge: str, *, isolated: bool = False) -> None:
        """Start the pump and join it to the LAN's bridge, as an isolated port or not; `number` is unique on the LAN.

        Raises:
            NetLabError: /dev/net/tun can not be used, or a bridge can not be made.
        """
        self.bridge = f"q{number}"
        near, far = f"qa{number}", f"qb{number}"
        self._lan = lan
        pipe = subprocess.PIPE
        argv = [sys.executable, "-I", "-S", pump.__file__, near, far]
        self._process = lan.popen(argv, stdin=pipe, stdout=pipe, stderr=pipe)
        try:
            self.tune(LinkQuality())
            lan.ip(
                [
                    f"link add {self.bridge} type bridge mcast_snooping 0",
                    f"link set {self.bridge} up",
                    f"link set {near} master {self.bridge}",
                    f"link set {near} up",
                    *joining(far, main_bridge, isolated=isolated),
                    f"link set {far} up",
                ],
                step="build a user-space link",
            )
        except NetLabError:
            lan.end(self._process)
            raise

    def tune(self, quality: LinkQuality) -> None:
        """Give the link this quality; it holds on return for every frame sent from now on.

        Raises:
            NetLabError: the pump has died or does not answer.
        """
        rate = 0.0 if quality.rate_mbit is None else quality.rate_mbit * 1e6 / 8
        seed = None if quality.seed is None else str(quality.seed)
        orders, answers = self._process.stdin, self._process.stdout
        assert orders is not None
        assert answers is not None
        try:
            orders.write(Setting(quality.delay_ms / 1000, quality.loss, rate, seed).line())
            orders.flush()
        except OSError:
            raise self._failure("has died") from None
        if not select.select([answers], [], [], PUMP_SECONDS)[0]:
            raise self._failure(f"did not answer in {PUMP_SECONDS:g} s")
        if answers.readline() != "ok\n":
            raise self._failure("has died")

    def remove(self) -> None:
        """End the pump, with which the TAPs go, and remove the small bridge. Raises NetLabError when ip refuses."""
        self._lan.end(self._process)
        self._lan.ip([f"link del {self.bridge}"], step="remove a user-space link")

    def _failure(self, what: str) -> NetLabError:
        """End the pump and compose the error from its last words."""
        said = self._lan.end(self._process)
        return NetLabError(
            f"The network lab could not set the quality of a cable: its user-space link {what}: {said or 'silently'}. "
            "It needs /dev/net/tun, since this kernel has no netem or a seed was given: try `modprobe tun`."
        )
