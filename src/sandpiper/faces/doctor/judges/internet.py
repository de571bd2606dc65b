"""Judges what stands between this machine and the internet, and with whom direct links can be made."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal

from sandpiper.faces.doctor.findings import Finding

if TYPE_CHECKING:
    from sandpiper.faces.doctor.facts import Facts, RelaySeen

NAT = "nat"
IPV6 = "ipv6"
MAPPING = "mapping"
DIRECT = "direct"

WEB_PORTS = (80, 443)  # where only these are let out, a relay is reached and nobody else

Reachable = Literal["everybody", "most", "open_only", "relay_only", "unknown"]


# ---------------------------------------------------------------- NAT


def judge_nat(facts: Facts) -> list[Finding]:
    """How the outside sees us: as we are, at one address for all, or at another for each."""
    relay = _teller(facts)
    if relay is None:
        return _nothing(facts, NAT, "No relay answers that could tell how this machine is seen.")
    code, seen, why, fix = _nat(relay)
    details = [f"{relay.name} sees {relay.outside}"] if not relay.tunnel else []
    if relay.second is not None:
        details.append(f"its second port sees {relay.second}")
    if relay.own:
        details.append(f"own address {relay.own}")
    return [Finding(check=NAT, status="ok", code=code, seen=seen, details=tuple(details), why=why, fix=fix)]


def _nothing(facts: Facts, check: str, seen: str) -> list[Finding]:
    """Without a relay nobody wants to know; with one that does not answer nothing can be told."""
    if not facts.internet.relays:
        return []
    return [Finding(check=check, status="ok", code="not_told", seen=seen)]


def _teller(facts: Facts) -> RelaySeen | None:
    """The relay that tells most."""
    reached = facts.internet.reached
    return next((relay for relay in reached if relay.nat != "unknown"), reached[0] if reached else None)


def _nat(relay: RelaySeen) -> tuple[str, str, str, tuple[str, ...]]:
    """Code, what is seen, why, and fix."""
    outside = relay.outside.host if relay.outside is not None else ""
    match relay.nat:
        case "none" if _is_public(outside):
            return "open", f"There is no NAT: this machine's own address, {outside}, is seen outside.", "", ()
        case "none":
            return (
                "same_network",
                f"The relay is on the same private network: it sees this machine's own address, {outside}.",
                "What stands between this network and the internet shows only to a relay out there.",
                (),
            )
        case "easy":
            return (
                "same",
                f"A NAT shows this machine as {relay.outside} to everybody: a way through it can be made.",
                "",
                (),
            )
        case "hard":
            return (
                "different",
                "A NAT shows this machine at another port to each destination (it is symmetric).",
                "Others cannot know in advance which port to dial.",
                (),
            )
        case "unknown":
            return _untold(relay)


def _untold(relay: RelaySeen) -> tuple[str, str, str, tuple[str, ...]]:
    if relay.proxy:
        return "proxied", f"The relay is reached through the proxy {relay.proxy}: only that one is seen.", "", ()
    if relay.tunnel:
        return "not_told", "The relay is behind a tunnel of its own, and cannot tell how this machine is seen.", "", ()
    if relay.second_port == "failed":
        return (
            "second_blocked",
            "The relay's second port cannot be reached, so the kind of NAT cannot be told.",
            "Either a firewall lets only some ports out, or that port is closed at the relay.",
            ("Ask its owner whether the port of --second-port is open there.",),
        )
    if relay.second_port == "same":
        return (
            "not_told",
            "A NAT is there; of which kind, this port of the relay cannot tell alone.",
            "",
            ("Name the relay's other port as well, as in --relay HOST:8000, and run this again.",),
        )
    return (
        "not_told",
        "A NAT is there; of which kind, the relay cannot tell without a second port.",
        "",
        ("Ask its owner for one: sandpiper relay --second-port 8001",),
    )


def _is_public(host: str) -> bool:
    try:
        return ip_address(host).is_global
    except ValueError:
        return False


# ---------------------------------------------------------------- IPv6


def judge_ipv6(facts: Facts) -> list[Finding]:
    """Whether there is a public IPv6 address, and whether it leads out."""
    internet = facts.internet
    if not internet.relays:
        return []
    if not internet.v6:
        seen = "This machine has no public IPv6 address. None is needed."
        return [Finding(check=IPV6, status="ok", code="none", seen=seen)]
    fates = {relay.name: relay.v6 for relay in internet.relays}
    details = tuple(internet.v6)
    if "ok" in fates.values():
        names = ", ".join(name for name, fate in fates.items() if fate == "ok")
        seen = f"IPv6 leads to {names}."
        return [Finding(check=IPV6, status="ok", code="reached", seen=seen, details=details)]
    if "failed" in fates.values():
        names = ", ".join(name for name, fate in fates.items() if fate == "failed")
        return [
            Finding(
                check=IPV6,
                status="warn",
                code="blocked",
                seen=f"There is a public IPv6 address, and {names} cannot be reached by it.",
                details=details,
                why="IPv4 is used instead; with IPv6, direct links need no way through a NAT.",
                fix=("Look at the router's IPv6 settings; on this machine, whether there is a way: ping -6 HOST",),
            )
        ]
    seen = "There is a public IPv6 address; no relay has one to try it with."
    return [Finding(check=IPV6, status="ok", code="untried", seen=seen, details=details)]


# ---------------------------------------------------------------- port mapping


def judge_mapping(facts: Facts) -> list[Finding]:
    """Whether the router would pass our port on."""
    router = facts.internet.router
    if not facts.internet.relays:
        return []
    if router.unasked:
        seen = f"No router was asked for a port. {router.text}".strip()
        fix = ("sandpiper config set port_mapping auto",) if router.unasked == "off" else ()
        return [Finding(check=MAPPING, status="ok", code=router.unasked, seen=seen, fix=fix)]
    details = tuple(
        f"{one.protocol}: {'answers' if one.answers else one.text}{f', outside {one.outside}' if one.outside else ''}"
        for one in router.offers
    )
    able = [one.protocol for one in router.offers if one.answers]
    inner = [one.outside for one in router.offers if one.outside and not _is_public(one.outside)]
    if able and inner:
        return [
            Finding(
                check=MAPPING,
                status="ok",
                code="behind_nat",
                seen=f"The router {router.host} passes ports on; its outside address, {inner[0]}, is no public one.",
                details=details,
                why="Another NAT is behind it (the provider's, or a second router), which still keeps others out.",
                fix=("With a second router of your own: put one of the two into bridge mode.",),
            )
        ]
    if able:
        return [
            Finding(
                check=MAPPING,
                status="ok",
                code="offered",
                seen=f"The router {router.host} passes ports on when asked ({', '.join(able)}); the chat asks it.",
                details=details,
            )
        ]
    return [
        Finding(
            check=MAPPING,
            status="ok",
            code="none",
            seen=f"The router {router.host} passes no ports on: neither PCP nor NAT-PMP nor UPnP is answered.",
            details=details,
        )
    ]


def _mappable(facts: Facts) -> bool:
    offers = [one for one in facts.internet.router.offers if one.answers]
    return bool(offers) and all(_is_public(one.outside) for one in offers if one.outside)


# ---------------------------------------------------------------- what it means


def judge_direct(facts: Facts) -> list[Finding]:
    """With whom direct links can be made, and what would let there be more."""
    if not facts.internet.relays:
        return []
    reachable = _reachable(facts)
    six = any(relay.v6 == "ok" for relay in facts.internet.relays)
    also = " With those who have IPv6 as well, by that." if six and reachable not in ("everybody", "unknown") else ""
    match reachable:
        case "everybody":
            seen = "Direct links can be made with everybody."
            return [Finding(check=DIRECT, status="ok", code="everybody", seen=seen, why=_drops(facts))]
        case "most":
            seen = (
                "Direct links can be made with those who are open, and with those whose NAT gives one address for all."
            )
            why = "With those behind a symmetric NAT links go through the relay, just as encrypted, a little slower."
            return [Finding(check=DIRECT, status="ok", code="most", seen=seen + also, why=why)]
        case "open_only":
            why = "All other links go through the relay: just as encrypted, a little slower, and none without it."
            seen = "Direct links can be made only with those who are open, or whose router passes a port on."
            return [Finding(check=DIRECT, status="warn", code="open_only", seen=seen + also, why=why, fix=_open(facts))]
        case "relay_only":
            why = "They are just as encrypted, a little slower, and end when the relay does."
            seen = "From this network links go through the relay only, as far as can be told."
            return [
                Finding(
                    check=DIRECT,
                    status="warn",
                    code="relay_only",
                    seen=seen + also,
                    why=why,
                    fix=("Have outgoing TCP to ports above 1023 let through, or use another network.",),
                )
            ]
        case "unknown":
            if not facts.internet.reached:
                seen = "Without a relay nobody beyond this network can be met."
            else:
                seen = (
                    "With whom direct links can be made cannot be told; where none can, the relay passes everything on."
                )
            return [Finding(check=DIRECT, status="ok", code="unknown", seen=seen)]


def _reachable(facts: Facts) -> Reachable:
    relay = _teller(facts)
    if relay is None:
        return "unknown"
    if relay.proxy or (relay.second_port == "failed" and relay.port in WEB_PORTS):
        return "relay_only"  # as far as can be told
    if relay.nat == "none" and relay.outside is not None and _is_public(relay.outside.host):
        # Where its own firewall drops what comes in, others must be dialled at the same moment, as through a NAT.
        return "most" if facts.firewall.tcp == "drop" else "everybody"
    if _mappable(facts) and facts.firewall.tcp != "drop":
        return "everybody"
    return {"easy": "most", "hard": "open_only"}.get(relay.nat, "unknown")  # type: ignore[return-value]


def _drops(facts: Facts) -> str:
    untold = facts.firewall.tcp == "unknown" and facts.firewall.tool
    return "Unless this machine's firewall drops what comes in, which cannot be told from here." if untold else ""


def _open(facts: Facts) -> tuple[str, ...]:
    router = facts.internet.router
    fix = []
    if router.unasked == "off":
        fix.append("sandpiper config set port_mapping auto")
    elif not router.unasked and not any(one.answers for one in router.offers):
        fix.append(f"In the settings of the router ({router.host}): switch on PCP, NAT-PMP or UPnP, or IPv6.")
    fix.append("Or use another network: phones' hotspots and companies often have such a NAT, homes seldom.")
    return tuple(fix)
