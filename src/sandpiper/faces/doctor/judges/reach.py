"""Judges whether peers can be dialled: multicast may work where TCP is blocked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.faces.doctor.findings import Finding, Status
from sandpiper.faces.doctor.fixes import let_in, let_in_there

if TYPE_CHECKING:
    from sandpiper.faces.doctor.facts import Facts, Outcome, Reach

CHECK = "reach"

_WORDS: dict[Outcome, str] = {
    "ok": "answers",
    "timeout": "no answer",
    "refused": "refused",
    "unreachable": "unreachable",
    "error": "failed",
    "silent": "connects, then says nothing",
    "stranger": "somebody else answers",
}


def judge_reach(facts: Facts) -> list[Finding]:
    """One finding when all can be dialled, else one for each kind of failure."""
    if not facts.reaches:
        return [Finding(check=CHECK, status="ok", code="not_tried", seen="There was nobody to dial.")]
    details = tuple(_line(reach) for reach in facts.reaches)
    failed = [reach for reach in facts.reaches if reach.outcome != "ok"]
    if not failed:
        count = len(facts.reaches)
        seen = f"{'It' if count == 1 else f'All {count}'} can be dialled: {', '.join(_name(r) for r in facts.reaches)}."
        return [Finding(check=CHECK, status="ok", code="dialled", seen=seen, details=details)]
    status: Status = "fail" if len(failed) == len(facts.reaches) else "warn"
    here = [reach for reach in failed if reach.here]
    away = [reach for reach in failed if not reach.here]
    found = [_here(here, status, details)] if here else []
    blocked = [reach for reach in away if reach.outcome in ("timeout", "unreachable")]
    refused = [reach for reach in away if reach.outcome == "refused"]
    silent = [reach for reach in away if reach.outcome in ("silent", "stranger")]
    failing = [reach for reach in away if reach.outcome == "error"]
    if blocked:
        found.append(_blocked(facts, blocked, status, details))
    if refused:
        found.append(_refused(refused, status, details))
    if silent:
        found.append(_silent(silent, status, details))
    if failing:
        found.append(_failing(failing, status, details))
    return found


def _name(reach: Reach) -> str:
    return reach.nick or str(reach.place)


def _line(reach: Reach) -> str:
    words = f"{reach.ms:.1f} ms" if reach.outcome == "ok" else reach.text or _WORDS[reach.outcome]
    name = f"{reach.nick} " if reach.nick else ""
    return f"{name}{reach.place}: {words}"


def _blocked(facts: Facts, reaches: list[Reach], status: Status, details: tuple[str, ...]) -> Finding:
    heard = any(reach.heard for reach in reaches)
    names = ", ".join(_name(reach) for reach in reaches)
    why = "A firewall drops TCP"
    if heard:
        why = "The beacons arrive and TCP does not: a firewall drops it"
    why += ", most likely on that machine (or the Wi-Fi keeps its clients apart)."
    why += " You still meet if that side can dial this one."
    fix = [f"On the machine of {names}, whichever it has:"]
    fix += [f"  {line}" for line in let_in_there(reaches[0].place.port)]
    if facts.firewall.tcp == "drop":
        why += " But this machine's firewall drops incoming TCP, too."
        fix += ["On this machine:", *(f"  {line}" for line in let_in(facts, tcp=True))]
    return Finding(
        check=CHECK,
        status=status,
        code="tcp_blocked",
        seen=f"{names} cannot be dialled: TCP does not get through.",
        details=details,
        why=why,
        fix=tuple(fix),
    )


def _refused(reaches: list[Reach], status: Status, details: tuple[str, ...]) -> Finding:
    names = ", ".join(_name(reach) for reach in reaches)
    return Finding(
        check=CHECK,
        status=status,
        code="tcp_refused",
        seen=f"{names} refuses TCP connections.",
        details=details,
        why="Either sandpiper has just ended there, or a firewall there rejects it.",
        fix=(
            "Look whether sandpiper still runs there, and run this again. If it does, on that machine:",
            *(f"  {line}" for line in let_in_there(reaches[0].place.port)),
        ),
    )


def _silent(reaches: list[Reach], status: Status, details: tuple[str, ...]) -> Finding:
    names = ", ".join(_name(reach) for reach in reaches)
    return Finding(
        check=CHECK,
        status=status,
        code="not_sandpiper",
        seen=f"{names}: the connection opens, but it is not sandpiper that answers as it should.",
        details=details,
        why="A security program or proxy in between takes the connection, another program has the port, or the beacon"
        " is forged.",
        fix=(
            "Switch off network inspection (antivirus, proxy) for sandpiper on both machines,"
            " or start sandpiper there with another --port.",
        ),
    )


def _here(reaches: list[Reach], status: Status, details: tuple[str, ...]) -> Finding:
    names = ", ".join(_name(reach) for reach in reaches)
    return Finding(
        check=CHECK,
        status=status,
        code="own_peer_hangs",
        seen=f"{names} on this machine sends beacons but does not answer on its port.",
        details=details,
        why="It has just ended, it hangs, or a local firewall filters even connections of this machine to itself.",
        fix=("End it and start it again; if that does not help, start it with --debug and read its log.",),
    )


def _failing(reaches: list[Reach], status: Status, details: tuple[str, ...]) -> Finding:
    return Finding(
        check=CHECK,
        status=status,
        code="dial_failed",
        seen=" ".join(f"{reach.text or 'Dialling failed'}." for reach in reaches),
        details=details,
        why="Such an address cannot be dialled from this machine.",
        fix=("Check the spelling of --peer and of the setting `peers`, or give an address with numbers.",),
    )
