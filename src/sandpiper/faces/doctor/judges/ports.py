"""Judges the port to listen on and this machine's firewall."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.faces.doctor.findings import Finding
from sandpiper.faces.doctor.fixes import let_in, tcp_ports, tools_named, who_listens

if TYPE_CHECKING:
    from sandpiper.faces.doctor.facts import Facts, Holder

PORT = "port"
FIREWALL = "firewall"


def judge_port(facts: Facts) -> list[Finding]:
    """Whether sandpiper gets a port, and who has those that it does not get."""
    ports = facts.ports
    details = tuple(_line(holder) for holder in ports.taken)
    if ports.forbidden:
        return [
            Finding(
                check=PORT,
                status="fail",
                code="port_forbidden",
                seen=f"Port {ports.wanted} may not be used: {ports.forbidden}.",
                why="Sandpiper does not start with a port that it cannot have.",
                fix=(f"sandpiper --port {ports.free or 0}", *_set_port(facts)),
            )
        ]
    if ports.wanted and ports.taken:
        return [_wanted_taken(facts, ports.taken[0], details)]
    if ports.free is None:
        first, last = tcp_ports(facts)
        return [
            Finding(
                check=PORT,
                status="fail",
                code="no_port",
                seen=f"Every port from {first} to {last} is in use.",
                details=details,
                why="Sandpiper does not start without a port to listen on.",
                fix=(who_listens(facts.system, first), f"sandpiper --port {last + 1}"),
            )
        ]
    seen = f"Port {ports.free} is free."
    if ports.taken:
        seen = f"Port {ports.free} is the first free one."
    return [Finding(check=PORT, status="ok", code="free", seen=seen, details=details)]


def _line(holder: Holder) -> str:
    return f"{holder.port}: {_who(holder)}"


def _who(holder: Holder) -> str:
    who = f"{holder.program or 'a program'} (process {holder.pid})" if holder.pid else "a program that cannot be seen"
    return f"{who}, sandpiper of {holder.nick}" if holder.nick else who


def _set_port(facts: Facts) -> tuple[str, ...]:
    return (f"sandpiper config set port {facts.ports.free or 0}   (0: any free one)",)


def _wanted_taken(facts: Facts, holder: Holder, details: tuple[str, ...]) -> Finding:
    free = facts.ports.free or 0
    if holder.nick:
        return Finding(
            check=PORT,
            status="warn",
            code="port_is_ours",
            seen=f"Port {holder.port} is in use by a sandpiper on this machine ({holder.nick}).",
            details=details,
            why="A second one needs another port.",
            fix=(f"sandpiper --port {free}",),
        )
    fix = [f"sandpiper --port {free}", *_set_port(facts)]
    if not holder.pid:
        fix.insert(0, who_listens(facts.system, holder.port))
    return Finding(
        check=PORT,
        status="fail",
        code="port_in_use",
        seen=f"Port {holder.port} is in use by {_who(holder)}.",
        details=details,
        why="Sandpiper does not start with a port that another program has.",
        fix=tuple(fix),
    )


def judge_firewall(facts: Facts) -> list[Finding]:
    """What this machine's firewall lets in; what was heard counts more than what its rules seem to say."""
    firewall = facts.firewall
    name = tools_named(firewall.tool)
    came_in = any(voice.heard and not voice.loopback for voice in facts.air.voices)
    drops = []
    if firewall.udp == "drop" and not came_in:
        drops.append(f"UDP {facts.settings.multicast.port}")
    if firewall.tcp == "drop":
        first, last = tcp_ports(facts)
        drops.append(f"TCP {first}" if first == last else f"TCP {first} to {last}")
    if drops:
        why = []
        if firewall.udp == "drop" and not came_in:
            why.append("Beacons of others do not arrive: nobody is found.")
        if firewall.tcp == "drop":
            why.append("Others cannot dial this machine; you only meet those whom it can dial.")
        return [
            Finding(
                check=FIREWALL,
                status="warn",
                code="drops",
                seen=f"The firewall of this machine ({name}) drops incoming {' and '.join(drops)}.",
                why=" ".join(why),
                fix=let_in(facts, udp=firewall.udp == "drop" and not came_in, tcp=firewall.tcp == "drop"),
            )
        ]
    if firewall.on is False:
        seen = f"The {name} is off." if firewall.tool else "No firewall rules were found on this machine."
        return [Finding(check=FIREWALL, status="ok", code="none", seen=seen)]
    if firewall.tcp == "accept" and (firewall.udp == "accept" or came_in):
        return [Finding(check=FIREWALL, status="ok", code="lets_in", seen=f"The firewall ({name}) lets sandpiper in.")]
    fix = let_in(facts, udp=True, tcp=True)
    if not firewall.tool and facts.system == "linux":
        fix = ("sudo nft list ruleset   (look for rules that drop what comes in)", *fix)
    what = f"There may be rules ({name})" if firewall.tool else "There may be rules"
    return [
        Finding(
            check=FIREWALL,
            status="ok",
            code="unknown",
            seen=f"{what} that keep others out; they cannot be read or judged from here.",
            why="Only if others cannot find or dial this machine:",
            fix=fix,
        )
    ]
