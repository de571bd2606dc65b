"""The network lab itself: makes LANs and hosts, and takes all of it away again, however the test ends."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from sandpiper.testing.netlab.commands import NetLabError, command, ip_batch, tool
from sandpiper.testing.netlab.host import Host
from sandpiper.testing.netlab.internet import Internet
from sandpiper.testing.netlab.lan import Lan
from sandpiper.testing.netlab.leftovers import names_with, new_prefix, remove_leftovers, remove_namespaces
from sandpiper.testing.netlab.namespace import Namespace
from sandpiper.testing.netlab.router import Router
from sandpiper.testing.netlab.rules import CONE, NatRules

if TYPE_CHECKING:
    from types import FrameType, TracebackType
    from typing import Self

AnyLan = TypeVar("AnyLan", bound=Lan)
AnyHost = TypeVar("AnyHost", bound=Host)

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
# LANs number themselves in these: 10.77.1.0/24, 10.77.2.0/24 … and fd53:50:0:1::/64 … ("SP" in ASCII).
_LANS_MAX = 254
_SUBNETS = "10.77.{}.0/24"
_SUBNETS6 = "fd53:50:0:{:x}::/64"
_INTERNET = "203.0.113.0/24"  # for documentation (RFC 5737): no private address, and nobody's

# The labs of this process that are open: what dies with the process on a signal, or at its exit.
_open_labs: list[NetLab] = []
_our_signals: list[signal.Signals] = []


@functools.cache
def available() -> str | None:
    """Give the reason why the lab can not run here, or None when it can (a real namespace is made to find out)."""
    if sys.platform != "linux":
        return f"the network lab needs Linux network namespaces, and this is {sys.platform}"
    if os.geteuid() != 0:
        return "the network lab needs root: an ordinary user can not make network namespaces"
    probe = NetLab()
    _register(probe)
    try:
        try:
            netns = f"{probe.prefix}-probe"
            command([tool("ip"), "netns", "add", netns], step="make a network namespace")
            bridge = ["link add br0 type bridge", "link add p1 type veth peer name p2", "link set p1 master br0"]
            ip_batch(netns, bridge, step="make a bridge with a cable")
        finally:
            probe.close()
    except NetLabError as error:
        return str(error)
    return None


class NetLab:
    """A laboratory of LANs and hosts in network namespaces, all on this machine and cut off from its real network.

    >>> with NetLab() as lab:
    ...     office = lab.lan("office")
    ...     a, b = lab.host("a", office), lab.host("b", office)
    ...     a.run(["ping", "-c1", b.address()])

    At the end of the block everything is gone: programs (killed), namespaces, folders. The same happens at exit and
    on SIGTERM and SIGHUP (unless the program handles these itself); what a killed process has left behind, the next
    lab removes when it opens. Raises NetLabError from every method when the kernel or a missing tool is in the way.
    """

    def __init__(self) -> None:
        """Describe a lab; it opens as a context manager."""
        self.prefix = new_prefix()
        self._creator = os.getpid()
        self._folder: Path | None = None
        self._lans: dict[str, Lan] = {}
        self._hosts: dict[str, Host] = {}

    def __enter__(self) -> Self:
        """Open: remove what dead labs have left, and prepare to clean up after this one.

        Raises:
            NetLabError: labs can not run here (:func:`available` gives the same reason to skip a test with).
        """
        reason = available()
        if reason is not None:
            raise NetLabError(f"The network lab can not open: {reason}. Skip tests on available()'s reason.")
        remove_leftovers()
        _register(self)
        self._folder = Path(tempfile.mkdtemp(prefix=f"{self.prefix}-"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def lan(self, name: str, *, subnet: str | None = None, ipv6: bool = True, snooping: bool = False) -> Lan:
        """Make a LAN: a bridge in a namespace of its own.

        `subnet` is IPv4, by default 10.77.N.0/24; with `ipv6` it also has a ULA /64; `snooping` see
        :meth:`Lan.snooping`.

        Raises:
            NetLabError: the name is taken or unfit, the subnet is none, or the kernel refused.
        """
        lan = self._new_lan(Lan, name, subnet, ipv6=ipv6)
        lan.create(snooping=snooping)
        return lan

    def internet(self, name: str = "internet", *, subnet: str = _INTERNET) -> Internet:
        """Make a public network, to which routers, and hosts without one, attach.

        Raises:
            NetLabError: as :meth:`lan`.
        """
        internet = self._new_lan(Internet, name, subnet, ipv6=False)
        internet.create(snooping=False)
        return internet

    def _new_lan(self, kind: type[AnyLan], name: str, subnet: str | None, *, ipv6: bool) -> AnyLan:
        """Enter a new LAN of some kind into the books. Raises NetLabError."""
        netns = self._netns(name)
        number = len(self._lans) + 1
        if number > _LANS_MAX:
            raise NetLabError(f"A lab has at most {_LANS_MAX} LANs. Open a second lab.")
        try:
            network = IPv4Network(_SUBNETS.format(number) if subnet is None else subnet)
        except ValueError as error:
            raise NetLabError(f"The LAN {name} can not be {subnet!r}: {error}. Try 10.0.0.0/24.") from error
        network6 = IPv6Network(_SUBNETS6.format(number)) if ipv6 else None
        lan = kind(Namespace(name, netns), number, network, network6)
        self._lans[name] = lan
        return lan

    def host(self, name: str, *lans: Lan) -> Host:
        """Make a host on these LANs (eth0 on the first, eth1 on the second, …), or on none to begin with.

        Raises:
            NetLabError: the name is taken or unfit, or the kernel refused.
        """
        host = self._new_host(Host, name)
        for lan in lans:
            host.attach(lan)
        return host

    def router(self, name: str, outside: Lan, *inside: Lan, rules: NatRules = CONE) -> Router:
        """Make a router with NAT: a host on `outside`, and the gateway of the others (to which hosts attach after it).

        Raises:
            NetLabError: the name is taken or unfit, a LAN has a router, or the kernel refused.
        """
        router = self._new_host(Router, name)
        router.attach(outside)
        router.obey(rules)
        for lan in inside:
            router.serve(lan)
        return router

    def _new_host(self, kind: type[AnyHost], name: str) -> AnyHost:
        """Make a host of some kind, on no LAN yet. Raises NetLabError."""
        netns = self._netns(name)
        host = kind(name, netns, self._opened() / name)
        self._hosts[name] = host
        host.prepare(ipv6=Path("/proc/sys/net/ipv6").exists())
        return host

    def close(self) -> None:
        """Kill the programs, remove the namespaces and the folder. Closing again, or in a forked child, does nothing.

        Raises:
            NetLabError: something could not be removed; the rest is gone.
        """
        if os.getpid() != self._creator:
            return
        # each step also when the one before was interrupted; and once more at exit when not all could be done
        try:
            for namespace in (*self._hosts.values(), *(lan.namespace for lan in self._lans.values())):
                namespace.kill_processes()
        finally:
            try:
                # by what the kernel has, not by our books: an interrupted step may be in one and not in the other
                remove_namespaces(names_with(self.prefix))
            finally:
                if self._folder is not None:
                    shutil.rmtree(self._folder, ignore_errors=True)
                    self._folder = None
        _unregister(self)

    def _netns(self, name: str) -> str:
        """Give the namespace's name for a new LAN or host. Raises NetLabError when the name can not be used."""
        self._opened()
        if _NAME.fullmatch(name) is None:
            raise NetLabError(f"{name!r} can not name a LAN or host. Use up to 32 of a-z, 0-9, - and _.")
        if name in self._hosts or name in self._lans:
            raise NetLabError(f"This lab has a {name!r} already. Each LAN and each host needs a name of its own.")
        return f"{self.prefix}-{name}"

    def _opened(self) -> Path:
        """Give the lab's folder. Raises NetLabError when the lab is not open."""
        if self._folder is None:
            raise NetLabError("This network lab is not open. Use it inside `with NetLab() as lab:`.")
        return self._folder


def _register(lab: NetLab) -> None:
    """Remember an open lab; the first one prepares for the process's end."""
    _open_labs.append(lab)
    if len(_open_labs) > 1:
        return
    atexit.register(_close_all)
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _die)
                _our_signals.append(number)


def _unregister(lab: NetLab) -> None:
    """Forget a closed lab; the last one undoes what the first prepared."""
    if lab not in _open_labs:
        return
    _open_labs.remove(lab)
    if _open_labs:
        return
    atexit.unregister(_close_all)
    if threading.current_thread() is threading.main_thread():
        while _our_signals:
            number = _our_signals.pop()
            if signal.getsignal(number) is _die:
                signal.signal(number, signal.SIG_DFL)


def _close_all() -> None:
    """Close every open lab, the newest first; one that fails does not keep the others."""
    for lab in reversed(_open_labs.copy()):
        with contextlib.suppress(NetLabError):  # the process ends: what is left, the next lab removes
            lab.close()


def _die(number: int, frame: FrameType | None) -> NoReturn:
    """Clean up on a deadly signal, then die of it as if it had not been handled."""
    try:
        _close_all()
    finally:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    raise SystemExit(128 + number)  # not reached while the signal is deadly
