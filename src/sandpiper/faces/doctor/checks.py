"""The list of checks, and how their facts are gathered: everything at once, and dialling once peers are known."""

from __future__ import annotations

import asyncio
import math
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.faces.doctor.facts import Air, Cards, Facts, Holder, Ports, System
from sandpiper.faces.doctor.findings import Finding
from sandpiper.faces.doctor.judges.folder import judge_data, judge_history
from sandpiper.faces.doctor.judges.interfaces import judge_interfaces
from sandpiper.faces.doctor.judges.internet import judge_direct, judge_ipv6, judge_mapping, judge_nat
from sandpiper.faces.doctor.judges.multicast import judge_multicast
from sandpiper.faces.doctor.judges.peers import judge_clock, judge_peers
from sandpiper.faces.doctor.judges.ports import judge_firewall, judge_port
from sandpiper.faces.doctor.judges.reach import judge_reach
from sandpiper.faces.doctor.judges.relays import judge_relay
from sandpiper.faces.doctor.judges.terminal import judge_terminal
from sandpiper.faces.doctor.probes.air import WAIT_SECONDS, probe_air
from sandpiper.faces.doctor.probes.cards import probe_cards
from sandpiper.faces.doctor.probes.firewall import probe_firewall
from sandpiper.faces.doctor.probes.folder import probe_folder
from sandpiper.faces.doctor.probes.internet import probe_internet
from sandpiper.faces.doctor.probes.ports import probe_ports
from sandpiper.faces.doctor.probes.reach import probe_reach
from sandpiper.faces.doctor.probes.terminal import probe_terminal
from sandpiper.net.interfaces import list_interfaces

if TYPE_CHECKING:
    from sandpiper.config import Paths, Settings


class Check(Struct, frozen=True):
    """One row of the table. `network`: its failure is the network's, not this machine's (exit code 3)."""

    name: str
    network: bool
    judge: Callable[[Facts], list[Finding]]


# The order is that of the report. A new check is a field of `Facts`, a probe in `gather`, and a row here.
CHECKS: tuple[Check, ...] = (
    Check("interfaces", True, judge_interfaces),
    Check("multicast", True, judge_multicast),
    Check("peers", True, judge_peers),
    Check("clock", True, judge_clock),
    Check("reach", True, judge_reach),
    Check("port", False, judge_port),
    Check("firewall", True, judge_firewall),
    Check("relay", True, judge_relay),
    Check("nat", True, judge_nat),
    Check("ipv6", True, judge_ipv6),
    Check("mapping", True, judge_mapping),
    Check("direct", True, judge_direct),
    Check("data", False, judge_data),
    Check("history", False, judge_history),
    Check("terminal", False, judge_terminal),
)

NETWORK = frozenset(check.name for check in CHECKS if check.network)


def judge(facts: Facts) -> list[Finding]:
    """All findings, in the order of the report."""
    return [finding for check in CHECKS for finding in check.judge(facts)]


async def gather(settings: Settings, paths: Paths, wait: float | None, tell: Callable[[str], None]) -> Facts:
    """Look at everything. `wait`: how long to listen for peers at most; `tell` gets a line when something takes long.

    Probes that block run on threads, while the LAN is listened to.
    """
    system = this_system()
    cards = probe_cards(settings.interfaces)
    places = [(card.name, address) for card in cards.cards if card.lan and card.used for address in card.addresses]
    name, address = next(((name, text) for name, text in places if "." in text), ("lo", "127.0.0.1"))
    async with asyncio.TaskGroup() as tasks:
        folder = tasks.create_task(asyncio.to_thread(probe_folder, paths, settings.profile), name="folder")
        ports_task = tasks.create_task(asyncio.to_thread(probe_ports, settings.port), name="ports")
        rules = tasks.create_task(
            asyncio.to_thread(probe_firewall, system, settings.multicast, settings.port or 8080, name, address),
            name="firewall",
        )
        beyond = tasks.create_task(probe_internet(settings, cards), name="internet")
        if settings.relay:
            tell(f"Asking {'the relay' if len(settings.relay) == 1 else 'the relays'} …")
        air = await _listen(settings, cards, wait, tell)
        if air.peers or settings.peers:
            tell("Dialling peers …")
        indexes = sorted({card.index for card in list_interfaces() if card.v6})
        reaches = await probe_reach(air.peers, settings.peers, indexes)
        if not all(task.done() for task in (folder, ports_task, rules)):
            tell("Looking at this machine …")
        if not beyond.done():
            tell("Waiting for the relay …")
    return Facts(
        system=system,
        program=sys.executable,
        settings=settings,
        cards=cards,
        air=air,
        reaches=reaches,
        ports=_named(ports_task.result(), air),
        firewall=rules.result(),
        folder=folder.result(),
        terminal=probe_terminal(settings.colour, os.environ),
        internet=beyond.result(),
    )


async def _listen(settings: Settings, cards: Cards, wait: float | None, tell: Callable[[str], None]) -> Air:
    only = tuple(name for name in settings.interfaces if name not in cards.missing)
    if settings.interfaces and not only:
        return Air()
    own = {address: card.name for card in cards.cards for address in card.addresses}
    lan = any(card.lan and card.used for card in cards.cards)
    seconds = WAIT_SECONDS if wait is None else wait
    tell(f"Listening for peers, for up to {math.ceil(seconds)} s …")
    patient = wait is not None or settings.compat == "p2pchat"
    return await probe_air(settings.multicast, only, own, lan=lan, wait=seconds, patient=patient)


def _named(ports: Ports, air: Air) -> Ports:
    """Ports that peers on this machine say are theirs carry their nicks."""
    nicks = {place.port: peer.nick for peer in air.peers if peer.here for place in peer.places}
    taken = tuple(
        Holder(port=one.port, pid=one.pid, program=one.program, nick=nicks.get(one.port, "")) for one in ports.taken
    )
    return Ports(wanted=ports.wanted, free=ports.free, taken=taken, forbidden=ports.forbidden)


def this_system() -> System:
    """The system, as far as fixes differ."""
    systems: dict[str, System] = {"linux": "linux", "darwin": "macos", "win32": "windows"}
    return systems.get(sys.platform, "other")
