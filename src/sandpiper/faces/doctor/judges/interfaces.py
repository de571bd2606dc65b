"""Judges the network interfaces: is there one on which others can be met?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.faces.doctor.findings import Finding
from sandpiper.faces.doctor.fixes import show_network

if TYPE_CHECKING:
    from sandpiper.faces.doctor.facts import Card, Facts

CHECK = "interfaces"


def judge_interfaces(facts: Facts) -> list[Finding]:
    """What there is, what is missing, what cannot carry beacons, and a VPN that takes everything."""
    return [*_there(facts), *_no_multicast(facts), *_vpn(facts)]


def _there(facts: Facts) -> list[Finding]:
    cards = facts.cards
    details = tuple(_line(card) for card in cards.cards if _worth_showing(facts, card))
    if cards.missing:
        wrong = ", ".join(cards.missing)
        return [
            Finding(
                check=CHECK,
                status="fail",
                code="no_interface",
                seen=f"The setting `interfaces` names {wrong}, and this machine has no such interface.",
                details=details,
                why="Sandpiper does not start with an interface that does not exist.",
                fix=(
                    "sandpiper config set interfaces ''   (use all of them)",
                    "or correct SANDPIPER_INTERFACES, if that is where it comes from",
                ),
            )
        ]
    lan = [card for card in cards.cards if card.lan]
    used = [card for card in lan if card.used]
    if lan and not used:
        return [
            Finding(
                check=CHECK,
                status="warn",
                code="left_out",
                seen=f"The setting `interfaces` leaves out {', '.join(card.name for card in lan)}.",
                details=details,
                why="Only programs on this machine can be found.",
                fix=(f"unset SANDPIPER_INTERFACES, or: sandpiper config set interfaces {lan[0].name}",),
            )
        ]
    if not lan:
        return [
            Finding(
                check=CHECK,
                status="warn",
                code="only_loopback",
                seen="No interface but loopback is connected.",
                details=details,
                why="Only programs on this machine can find each other.",
                fix=("Plug in the cable or join the Wi-Fi, then look with: " + show_network(facts.system),),
            )
        ]
    names = ", ".join(card.name for card in used)
    seen = f"{names} {'is' if len(used) == 1 else 'are'} connected."
    if len(used) > 1:
        seen += " Beacons go out on all of them; the setting `interfaces` chooses."
    if not cards.default:
        seen += " There is no default route; the LAN does not need one."
    return [Finding(check=CHECK, status="ok", code="connected", seen=seen, details=details)]


def _worth_showing(facts: Facts, card: Card) -> bool:
    """One that is off and without an address is of interest only when there is nothing else."""
    return bool(card.addresses) or bool(card.up and card.running) or not any(other.lan for other in facts.cards.cards)


def _line(card: Card) -> str:
    words = [*card.addresses] or ["no address"]
    if card.up is False:
        words.append("down")
    elif card.running is False:
        words.append("not connected")
    if card.tunnel:
        words.append("tunnel")
    if not card.used:
        words.append("not used (setting `interfaces`)")
    return f"{card.name}: {', '.join(words)}"


def _no_multicast(facts: Facts) -> list[Finding]:
    dumb = [card for card in facts.cards.cards if card.lan and card.used and card.multicast is False]
    if not dumb:
        return []
    names = ", ".join(card.name for card in dumb)
    linux = tuple(f"sudo ip link set dev {card.name} multicast on" for card in dumb)
    return [
        Finding(
            check=CHECK,
            status="warn",
            code="no_multicast",
            seen=f"Multicast is switched off on {names}.",
            why="Peers there are not found by themselves, and do not find this machine.",
            fix=linux if facts.system == "linux" else (f"Switch multicast on for {names}, or use --peer HOST:PORT.",),
        )
    ]


def _vpn(facts: Facts) -> list[Finding]:
    """A VPN is harmless until it blocks the LAN: it is a warning only where nobody on the LAN is heard."""
    tunnels = [card.name for card in facts.cards.cards if card.tunnel and card.name in facts.cards.default]
    if not tunnels:
        return []
    heard = bool(facts.air.elsewhere)
    return [
        Finding(
            check=CHECK,
            status="ok" if heard else "warn",
            code="vpn",
            seen=f"A VPN ({', '.join(tunnels)}) takes the traffic that leaves the LAN.",
            why="Others on the LAN are heard all the same."
            if heard
            else "Some VPNs also block the local network, and nobody there was heard.",
            fix=()
            if heard
            else ("Allow local network access in the VPN's settings, or disconnect it and run this again.",),
        )
    ]
