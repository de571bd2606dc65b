"""The router on the way out, and our own address on its network; on every system, sending nothing."""

from __future__ import annotations

import re
import shutil
import socket
import struct
import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.config.addresses import Address
from sandpiper.errors import LinkError, UsageError
from sandpiper.net.interfaces import list_interfaces
from sandpiper.wire import igd, portmap

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_ROUTES = 8  # default routes that are looked at: one for each interface, usually one
COMMAND_SECONDS = 2.0
_ROUTES = Path("/proc/self/net/route")
_GATEWAY_FLAG, _UP_FLAG = 0x2, 0x1  # linux/route.h


class Gateway(Struct, frozen=True):
    """A router's address and our own on its network. The others are where it and the search for it listen."""

    host: str
    own: str
    port: int = portmap.PORT
    group: Address = Address(igd.SEARCH_GROUP, igd.SEARCH_PORT)


class NoGateway(LinkError):
    """There is no router that could be asked. `code`: no_route, left_out, public."""

    code = "no_route"


def find_gateway(only: tuple[str, ...] = ()) -> Gateway:
    """The IPv4 default gateway, if it is on one of the interfaces `only` (empty: all). May take seconds on systems that
    must be asked by a command.

    Raises:
        NoGateway: there is none, it may not be used, or none is needed because our address is public.
    """
    hosts = list(default_gateways())[:MAX_ROUTES]
    if not hosts:
        raise NoGateway("There is no IPv4 router: this machine has no default route with a gateway.")
    try:
        allowed = {card.address for card in list_interfaces(only) if not card.v6 and not card.loopback}
    except UsageError as exc:
        raise NoGateway(str(exc), code="left_out") from exc
    for host in hosts:
        own = _own_address(host)
        if own is None or own == host or own not in allowed:
            continue
        if IPv4Address(own).is_global:
            raise NoGateway(f"None is needed: this machine's own address, {own}, is a public one.", code="public")
        return Gateway(host, own)
    raise NoGateway("The setting `interfaces` leaves out the one that leads to the router.", code="left_out")


def _own_address(host: str) -> str | None:
    """Our own address on the way to `host`. Connecting a UDP socket sends nothing."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((host, portmap.PORT))
            return str(sock.getsockname()[0])
    except OSError:
        return None


def default_gateways() -> Iterator[str]:
    """The gateways of all IPv4 default routes, the preferred one first."""
    if sys.platform == "linux":
        try:
            found = linux_gateways(_ROUTES.read_text("ascii"))
        except (OSError, UnicodeDecodeError):
            found = []
    elif sys.platform == "win32":
        found = table_gateways(_output("route", "print", "-4", "0.0.0.0"))
    else:
        found = table_gateways(_output("netstat", "-rn", "-f", "inet"))
    yield from dict.fromkeys(found)


def linux_gateways(table: str) -> list[str]:
    """Those in /proc/net/route, by their metric."""
    found: list[tuple[int, str]] = []
    for line in table.splitlines()[1:]:
        words = line.split()
        if len(words) < 8 or words[1] != "00000000" or words[7] != "00000000":
            continue
        flags, metric = int(words[3], 16), int(words[6])
        if flags & (_UP_FLAG | _GATEWAY_FLAG) == _UP_FLAG | _GATEWAY_FLAG:
            found.append((metric, str(IPv4Address(struct.pack("=I", int(words[2], 16))))))
    return [host for _, host in sorted(found, key=lambda one: one[0])]


def table_gateways(table: str) -> list[str]:
    """Those in what `netstat -rn` (macOS, BSD) or `route print` (Windows) shows, in its order or by the metric."""
    found: list[tuple[int, str]] = []
    for line in table.splitlines():
        words = line.split()
        if words[:1] == ["default"] and len(words) > 1:
            host, metric = words[1], 0
        elif words[:2] == ["0.0.0.0", "0.0.0.0"] and len(words) > 4 and words[4].isdigit():
            host, metric = words[2], int(words[4])
        else:
            continue
        if re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3}){3}", host) and all(int(part) < 256 for part in host.split(".")):
            found.append((metric, host))
    return [host for _, host in sorted(found, key=lambda one: one[0])]


def _output(*argv: str) -> str:
    """What a command of the system writes; empty when there is none."""
    program = shutil.which(argv[0])
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, *argv[1:]], stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("ascii", "replace")
