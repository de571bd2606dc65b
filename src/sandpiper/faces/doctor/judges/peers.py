"""Judges who was heard, whether they hear us, and whose clock is wrong."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, NamedTuple

from sandpiper.core.discovery import SKEW_SECONDS
from sandpiper.faces.doctor.findings import Finding
from sandpiper.faces.doctor.fixes import set_clock

if TYPE_CHECKING:
    from sandpiper.faces.doctor.facts import Facts, HeardPeer

PEERS = "peers"
CLOCK = "clock"


def judge_peers(facts: Facts) -> list[Finding]:
    """Who is there; when nobody is, the two reasons for it and the way around the second."""
    return [*_who(facts), *_one_way(facts), *_strange(facts)]


def _who(facts: Facts) -> list[Finding]:
    air = facts.air
    details = tuple(_line(peer) for peer in air.peers)
    unheard = [reach for reach in facts.reaches if reach.given and reach.outcome == "ok" and not reach.heard]
    if unheard:
        where = ", ".join(str(reach.place) for reach in unheard)
        return [
            Finding(
                check=PEERS,
                status="warn",
                code="multicast_filtered",
                seen=f"{where} can be dialled, and no beacon of it was heard in {max(air.listened, 1.0):.0f} s.",
                details=details,
                why="The network between you filters multicast (guest Wi-Fi, client isolation, another subnet),"
                " so you are not found by yourselves.",
                fix=(
                    f"Connect by address: sandpiper --peer {unheard[0].place}   (inside the chat: /connect"
                    f" {unheard[0].place})",
                    "or let the Wi-Fi's or switch's owner turn client isolation and multicast filtering off",
                ),
            )
        ]
    if air.elsewhere:
        count = len(air.elsewhere)
        return [
            Finding(
                check=PEERS,
                status="ok",
                code="heard",
                seen=f"{count} {'peer' if count == 1 else 'peers'} on other machines heard.",
                details=details,
            )
        ]
    lan = any(card.lan and card.used for card in facts.cards.cards)
    if air.peers and not lan:
        return [
            Finding(check=PEERS, status="ok", code="heard", seen="Peers on this machine are heard.", details=details)
        ]
    deaf = bool(air.voices) and not any(voice.heard for voice in air.voices if not voice.loopback or not lan)
    nobody = f"Nobody {'else ' if air.peers else ''}was heard in {max(air.listened, 1.0):.0f} s."
    return [
        Finding(
            check=PEERS,
            status="warn",
            code="nobody",
            seen=nobody,
            details=details,
            why="Beacons do not work on this machine (see multicast), so nobody can be heard."
            if deaf
            else "Either nobody runs sandpiper on this network now, or the network filters multicast between machines"
            " (guest Wi-Fi, client isolation, some switches and VPNs).",
            fix=(
                "Mend multicast first, then run this again."
                if deaf
                else "Start sandpiper on another machine of this network, then run this again.",
                f"If it runs there already, type there: sandpiper --peer {_our_place(facts)}",
                "or here, with the address and port that it shows: sandpiper --peer HOST:PORT",
            ),
        )
    ]


def _our_place(facts: Facts) -> str:
    """Where others would dial this machine, as far as it is known."""
    mine = next((peer.places[0].port for peer in facts.air.peers if peer.here and peer.places), None)
    port = mine or facts.ports.wanted or facts.ports.free or 8080
    for card in facts.cards.cards:
        if card.lan and card.used:
            for address in card.addresses:
                if ipaddress.ip_address(address).version == 4:
                    return f"{address}:{port}"
    return f"ADDRESS-OF-THIS-MACHINE:{port}"


def _line(peer: HeardPeer) -> str:
    words = [", ".join(str(place) for place in peer.places)]
    if peer.skew is not None:
        words.append(f"clock {_signed(peer.skew)}")
    if peer.here:
        words.append("on this machine")
    if not peer.native:
        words.append("old p2pchat")
    return f"{peer.nick}: {', '.join(words)}"


def _signed(seconds: float) -> str:
    return f"{round(seconds, 1) + 0.0:+.1f} s"  # adding zero takes the sign off a zero


def _one_way(facts: Facts) -> list[Finding]:
    deaf = [peer for peer in facts.air.elsewhere if peer.native and not peer.answered]
    if not deaf:
        return []
    names = ", ".join(peer.nick for peer in deaf)
    port = facts.settings.multicast.port
    return [
        Finding(
            check=PEERS,
            status="warn",
            code="one_way",
            seen=f"{names} can be heard, but did not answer.",
            why=f"Beacons from here do not arrive there: a firewall there drops UDP {port}, one here lets none out, or"
            " the network filters one direction. You may see each other late or only after one of you dials.",
            fix=(
                f"On that machine: sandpiper doctor   (it names the command that lets UDP {port} in)",
                *(f"or here: sandpiper --peer {peer.places[0]}" for peer in deaf[:1] if peer.places),
            ),
        )
    ]


def _strange(facts: Facts) -> list[Finding]:
    air = facts.air
    newer = [strange for strange in air.strange if strange.version]
    if newer:
        return [
            Finding(
                check=PEERS,
                status="warn",
                code="other_version",
                seen=f"{', '.join(strange.host for strange in newer)} runs another version of sandpiper.",
                details=tuple(f"{strange.host}: {strange.reason}" for strange in newer),
                why="Its beacons cannot be read, so it is not found.",
                fix=("Update the older of the two.",),
            )
        ]
    if not air.strange:
        return []
    return [
        Finding(
            check=PEERS,
            status="ok",
            code="strange",
            seen=f"Something else also talks on {facts.settings.multicast}. It is ignored.",
            details=tuple(f"{strange.host}: {strange.reason}" for strange in air.strange),
        )
    ]


class _Clock(NamedTuple):
    """Somebody else's clock, in seconds ahead of ours. `old`: of the old program."""

    name: str
    skew: float
    old: bool = False
    relay: bool = False


def judge_clock(facts: Facts) -> list[Finding]:
    """This machine's clock against those of the peers that were heard, and of the relays that were asked."""
    clocks = [_Clock(peer.nick, peer.skew, old=not peer.native) for peer in facts.air.peers if peer.skew is not None]
    clocks += [_Clock(f"the relay {r.name}", r.skew, relay=True) for r in facts.internet.reached if r.skew is not None]
    if not clocks:
        return [
            Finding(check=CLOCK, status="ok", code="not_compared", seen="There was no peer to compare the clock with.")
        ]
    wrong = [clock for clock in clocks if abs(clock.skew) > SKEW_SECONDS]
    if not wrong:
        most = max(abs(clock.skew) for clock in clocks)
        seen = f"The clocks of {len(clocks)} {_whose(clocks)}" if len(clocks) > 1 else "The peer's clock"
        if len(clocks) == 1 and clocks[0].relay:
            seen = "The relay's clock"
        seen += f" and this one agree within {max(most, 0.1):.1f} s."
        return [Finding(check=CLOCK, status="ok", code="agree", seen=seen)]
    spread = max(clock.skew for clock in wrong) - min(clock.skew for clock in wrong)
    ours = len(clocks) > 1 and len(wrong) == len(clocks) and spread < SKEW_SECONDS
    why = "Times beside messages are wrong by that much. The order of messages is not affected."
    if any(clock.old for clock in wrong):
        why += " The old p2pchat refuses messages that look older than 30 s: chatting with it can fail."
    if any(clock.relay for clock in wrong):
        why += " Members of a private room look for each other under a name that changes at midnight (UTC): with clocks"
        why += " more than an hour apart they may not meet."
    if ours:
        seen = f"All {len(clocks)} {_whose(clocks)} say that this machine's clock is {_apart(-wrong[0].skew)}."
        fix: tuple[str, ...] = (set_clock(facts.system),)
    else:
        seen = " ".join(f"The clock of {clock.name} is {_apart(clock.skew, 'this one')}." for clock in wrong)
        fix = (f"Set whichever is wrong. On this machine: {set_clock(facts.system)}",)
    return [
        Finding(
            check=CLOCK,
            status="warn",
            code="own_clock" if ours else "skewed",
            seen=seen,
            details=tuple(f"{clock.name}: {_signed(clock.skew)}" for clock in clocks),
            why=why,
            fix=fix,
        )
    ]


def _whose(clocks: list[_Clock]) -> str:
    """What the owners of several clocks are together."""
    relays = sum(clock.relay for clock in clocks)
    return "relays" if relays == len(clocks) else "peers and relays" if relays else "peers"


def _apart(seconds: float, other: str = "") -> str:
    """How far ahead or behind, in a unit that is easy to grasp."""
    amount, unit = abs(seconds), "seconds"
    for name, size in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if amount >= 2 * size:
            amount, unit = amount / size, name
            break
    way = ("ahead of" if other else "ahead") if seconds > 0 else "behind"
    return f"{amount:.0f} {unit} {way} {other}".rstrip()
