"""Network addresses as people type them: `HOST:PORT`, with brackets around IPv6."""

from __future__ import annotations

import re
from typing import NamedTuple

from typing_extensions import override

from sandpiper.config.quoting import shown
from sandpiper.errors import UsageError


class Address(NamedTuple):
    """A host (name, IPv4 or IPv6 without brackets) and a port. `str()` is what `parse_address` reads."""

    host: str
    port: int

    @override
    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, default_port: int | None = None) -> Address:
    """`HOST:PORT`, `[IPv6]:PORT`, or the host alone when there is a `default_port`. `tcp://` in front is let pass.

    Raises:
        UsageError: it is not an address.
    """
    try:
        return read_address(text, default_port)
    except ValueError as exc:
        wanted = "HOST:PORT" if default_port is None else "HOST or HOST:PORT"
        raise UsageError(
            f"{shown(text)} is not an address: {exc}.",
            hint=f"Give {wanted}, for example 192.168.1.20:8080 or [::1]:8080.",
            code="bad_address",
        ) from None


def read_address(text: str, default_port: int | None = None) -> Address:
    """What `parse_address` does, for a text around it. Raises: ValueError saying what is wrong."""
    host, bracket, rest = text.strip().removeprefix("tcp://").removesuffix("/").rpartition("]")
    if "://" in rest:
        raise ValueError(f"leave off {shown(rest.partition('://')[0] + '://')}")
    if bracket:
        if not host.startswith("[") or not is_ip(host[1:], 6) or rest[:1] not in ("", ":"):
            raise ValueError("an IPv6 address looks like [::1]:8080")
        host, colon, port = host[1:], rest[:1], rest[1:]
    else:
        host, colon, port = rest.partition(":")
        if ":" in port:
            raise ValueError("an IPv6 address needs brackets, as in [::1]:8080")
        if not re.fullmatch(r"[^\W_][\w.-]{0,252}", host):
            raise ValueError(f"{shown(host)} is not a host name" if host else "the host is missing")
        if re.fullmatch(r"[0-9.]+", host) and not is_ip(host, 4):
            raise ValueError(f"{shown(host)} is not an IPv4 address")
    if not colon:
        if default_port is None:
            raise ValueError("the port is missing")
        return Address(host, default_port)
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ValueError("the port must be a number from 1 to 65535")
    return Address(host, int(port))


def is_ip(text: str, version: int, *, multicast: bool = False) -> bool:
    """True for an IP address of this version; with `multicast` only for a group."""
    import ipaddress

    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return False
    return found.version == version and (found.is_multicast or not multicast)
