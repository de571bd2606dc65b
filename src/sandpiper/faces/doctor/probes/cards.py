"""Looks at the network interfaces: their addresses, flags, and which of them leads out of the LAN."""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import ifaddr

from sandpiper.faces.doctor.facts import Card, Cards

if TYPE_CHECKING:
    from collections.abc import Sequence

# Addresses for documentation (RFC 5737, RFC 3849). Connecting a UDP socket sends nothing; it asks the system for a way.
_OUTSIDE = ((socket.AF_INET, "198.51.100.1"), (socket.AF_INET6, "2001:db8::1"))
_TUNNELS = re.compile(
    r"(?i)^(tun|tap|utun|wg|ppp|ipsec|gpd|cscotun|nordlynx|proton|tailscale|zt|wt|mullvad|vpn)[\w.-]*$"
    r"|wireguard|openvpn|tap-windows|anyconnect|globalprotect|wintun|zerotier|tailscale|\bvpn\b"
)
_UP, _LOOPBACK, _POINT_TO_POINT, _RUNNING = 0x1, 0x8, 0x10, 0x40  # the same on Linux and macOS
_SIOCETHTOOL, _ETHTOOL_GLINK = 0x8946, 0x0A  # linux/sockios.h, linux/ethtool.h
_SYSTEMS = {"linux": (0x8913, 0x1000), "darwin": (0xC0206911, 0x8000)}  # SIOCGIFFLAGS, IFF_MULTICAST


def probe_cards(only: Sequence[str]) -> Cards:
    """All interfaces of this machine; `only` are the names that the settings allow, empty: all."""
    cards: list[Card] = []
    labels: set[str] = set()
    names: dict[str, str] = {}  # by address
    for adapter in ifaddr.get_adapters(include_unconfigured=True):
        own = {adapter.name, adapter.nice_name}
        labels |= own
        addresses = sorted(
            (ip.ip if isinstance(ip.ip, str) else ip.ip[0] for ip in adapter.ips), key=lambda text: (":" in text, text)
        )
        names.update(dict.fromkeys(addresses, adapter.nice_name))
        flags, multicast = _flags(adapter.name)
        running = _carrier(adapter.name)
        if running is None and flags is not None:
            running = bool(flags & _RUNNING)
        loopback = any(ipaddress.ip_address(address).is_loopback for address in addresses)
        tunnel = any(_TUNNELS.search(label) for label in own)
        cards.append(
            Card(
                name=adapter.nice_name,
                addresses=tuple(addresses),
                up=None if flags is None else bool(flags & _UP),
                running=running,
                multicast=None if flags is None else bool(flags & multicast),
                loopback=loopback or bool(flags and flags & _LOOPBACK),
                tunnel=tunnel or bool(flags and flags & _POINT_TO_POINT),
                used=not only or bool(own & set(only)),
            )
        )
    return Cards(
        cards=tuple(cards),
        default=tuple(dict.fromkeys(names[address] for address in _ways_out() if address in names)),
        missing=tuple(name for name in only if name not in labels),
    )


def _flags(name: str) -> tuple[int | None, int]:
    """The interface's flags and the one of them that means multicast; None where the system is not asked."""
    if sys.platform not in _SYSTEMS:
        return None, 0
    import fcntl

    request, multicast = _SYSTEMS[sys.platform]
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        asked = struct.pack("16s16x", name.encode()[:15])
        return struct.unpack_from("@H", fcntl.ioctl(sock, request, asked), 16)[0], multicast
    return None, 0


def _carrier(name: str) -> bool | None:
    """Whether the cable is in, at once (the flag may come a second late); None where the driver does not tell."""
    if sys.platform != "linux":
        return None
    import ctypes
    import fcntl

    asked = ctypes.create_string_buffer(struct.pack("@II", _ETHTOOL_GLINK, 0), 8)
    request = struct.pack("@16sP16x", name.encode()[:15], ctypes.addressof(asked))
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCETHTOOL, request)
        return bool(struct.unpack("@II", asked.raw)[1])
    return None


def _ways_out() -> list[str]:
    """Our own address on each default route."""
    found = []
    for family, address in _OUTSIDE:
        with suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((address, 9))
            found.append(str(sock.getsockname()[0]))
    return found
