"""The machine's network interfaces, on every system."""

from __future__ import annotations

import ipaddress

import ifaddr
from msgspec import Struct

from sandpiper.core.paths import Own
from sandpiper.errors import UsageError


class Interface(Struct, frozen=True, order=True):
    """One address of one interface. `index` is the system's number for it (0: unknown)."""

    name: str
    index: int
    address: str
    v6: bool

    @property
    def loopback(self) -> bool:
        """True for the machine's own."""
        return ipaddress.ip_address(self.address).is_loopback


def list_interfaces(only: tuple[str, ...] = ()) -> tuple[Interface, ...]:
    """Every IPv4 address, and one IPv6 link-local address an interface; of the named interfaces when names are given.

    Raises:
        UsageError: a name that no interface has, or the system does not say.
    """
    found: list[Interface] = []
    names: set[str] = set()
    try:
        adapters = list(ifaddr.get_adapters())
    except OSError as exc:  # no more files may be opened, for example
        raise UsageError(f"The network interfaces could not be listed: {exc}.", code="no_interfaces") from exc
    for adapter in adapters:
        labels = {adapter.name, adapter.nice_name}
        names |= labels
        if only and not labels & set(only):
            continue
        index = adapter.index or 0
        for ip in adapter.ips:
            if isinstance(ip.ip, str):
                found.append(Interface(adapter.name, index, ip.ip, v6=False))
            elif ipaddress.IPv6Address(ip.ip[0]).is_link_local and index:
                found.append(Interface(adapter.name, index, ip.ip[0], v6=True))
    missing = set(only) - names
    if missing:
        raise UsageError(
            f"There is no network interface called {', '.join(sorted(missing))}.",
            hint=f"This machine has: {', '.join(sorted(names))}.",
            code="no_interface",
        )
    return tuple(sorted(set(found)))


def own_addresses(only: tuple[str, ...] = ()) -> frozenset[Own] | None:
    """The addresses of this machine by which others may reach it, of the named interfaces when names are given; None:
    the system does not say. IPv6 addresses of one link alone are left out.
    """
    try:
        adapters = list(ifaddr.get_adapters())
    except OSError:  # no more files may be opened, for example; there is another look
        return None
    found: set[Own] = set()
    for adapter in adapters:
        if only and not {adapter.name, adapter.nice_name} & set(only):
            continue
        for ip in adapter.ips:
            host = ip.ip if isinstance(ip.ip, str) else ip.ip[0]
            if not ipaddress.ip_address(host).is_link_local:
                found.add(Own(host, ip.network_prefix))
    return frozenset(found)
