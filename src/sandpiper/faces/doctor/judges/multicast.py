"""Judges whether this machine's own beacons go out and come in, and names what stops them."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.faces.doctor.findings import Finding, Status
from sandpiper.faces.doctor.fixes import let_in, show_network, tools_named, who_listens

if TYPE_CHECKING:
    from sandpiper.faces.doctor.facts import Facts, Trouble, Voice

CHECK = "multicast"
WHY = "Peers on a LAN find each other by multicast beacons; without them nobody is found by itself."
BY_ADDRESS = "Until then, connect by address: sandpiper --peer HOST:PORT"

# With Windows' own numbers beside those of the C library.
_FORBIDDEN = {errno.EPERM, errno.EACCES, 10013}
_NO_WAY = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, 10051, 10065}
_GONE = {errno.ENODEV, errno.ENXIO, errno.EADDRNOTAVAIL, 10049}
_TAKEN = {errno.EADDRINUSE, 10048}
_FULL = {errno.ENOBUFS, 10055}


class _Cause(Struct, frozen=True):
    code: str
    text: str  # completes "… on eth0: "
    fix: tuple[str, ...]


def judge_multicast(facts: Facts) -> list[Finding]:
    """One finding when all is well, else one for each cause."""
    voices = [voice for voice in facts.air.voices if _connected(facts, voice)]
    lan = [voice for voice in voices if not voice.loopback] or voices
    if not lan:
        return [
            Finding(check=CHECK, status="warn", code="not_tried", seen="There was no interface to try it on.", why=WHY)
        ]
    names = sorted({voice.name for voice in lan})
    heard = {(voice.name, voice.v6) for voice in lan if voice.heard}
    dead = [name for name in names if (name, False) not in heard and (name, True) not in heard]
    mute4 = {voice.name for voice in lan if not voice.v6 and not voice.heard}
    only6 = [name for name in names if name in mute4 and (name, False) not in heard and (name, True) in heard]
    details = tuple(_line(voice) for voice in lan)
    if not dead and not only6:
        return [
            Finding(
                check=CHECK,
                status="ok",
                code="works",
                seen=f"Beacons sent to {facts.settings.multicast} are heard on {', '.join(names)}.",
                details=details,
            )
        ]
    causes: dict[_Cause, list[str]] = {}
    for name in dead + only6:
        mute = [voice for voice in lan if voice.name == name and not voice.heard]
        causes.setdefault(_cause(facts, min(mute, key=lambda voice: voice.v6)), []).append(name)
    status: Status = "fail" if len(dead) == len(names) else "warn"
    return [_finding(cause, where, status, details, only6) for cause, where in causes.items()]


def _connected(facts: Facts, voice: Voice) -> bool:
    card = facts.cards.of(voice.name)
    return card is None or (card.up is not False and card.running is not False)


def _line(voice: Voice) -> str:
    said = "heard" if voice.heard else voice.trouble.text if voice.trouble else "sent, not heard"
    return f"{voice.name} {voice.address}: {said}"


def _finding(cause: _Cause, names: list[str], status: Status, details: tuple[str, ...], only6: list[str]) -> Finding:
    seen = f"Beacons fail on {', '.join(names)}: {cause.text}."
    if set(names) <= set(only6):
        seen = f"Beacons fail by IPv4 on {', '.join(names)}, and work by IPv6: {cause.text}."
    return Finding(
        check=CHECK,
        status=status,
        code=cause.code,
        seen=seen,
        details=details,
        why=WHY,
        fix=(*cause.fix, BY_ADDRESS),
    )


def _cause(facts: Facts, voice: Voice) -> _Cause:
    if voice.trouble is None:
        drops = "does" if facts.firewall.udp == "drop" else "probably does"
        tool = f" ({tools_named(facts.firewall.tool)})" if facts.firewall.tool else ""
        return _Cause(
            "filtered_in",
            f"they go out and do not come back in; the firewall of this machine{tool} {drops} that",
            let_in(facts, udp=True),
        )
    return _of_error(facts, voice, voice.trouble)


def _of_error(facts: Facts, voice: Voice, trouble: Trouble) -> _Cause:
    number, text = trouble.errno, trouble.text
    if number in _FORBIDDEN:
        return _Cause(
            "filtered_out",
            f"a firewall on this machine does not let them out ({text})",
            (*let_in(facts, udp=True, out=True), *let_in(facts, udp=True)),
        )
    if number in _TAKEN:
        group = facts.settings.multicast
        return _Cause(
            "port_taken",
            f"another program keeps UDP port {group.port} for itself ({text})",
            (
                who_listens(facts.system, group.port, udp=True),
                "or use another group, the same on every machine:"
                f" sandpiper --multicast {group.host}:{_other(group.port)}",
            ),
        )
    if number in _NO_WAY:
        fix: tuple[str, ...] = (show_network(facts.system),)
        if facts.system == "linux":
            fix = (f"sudo ip link set dev {voice.name} up", f"sudo ip route replace 224.0.0.0/4 dev {voice.name}")
        return _Cause("no_way", f"the system has no way to the group there ({text})", fix)
    if number in _GONE:
        return _Cause("gone", f"the interface has gone or lost its address ({text})", (show_network(facts.system),))
    if number in _FULL:
        fix = (f"sandpiper config set interfaces {voice.name}   (use fewer interfaces)",)
        if facts.system == "linux":
            fix = ("sudo sysctl net.ipv4.igmp_max_memberships=200", *fix)
        return _Cause("too_many", f"the system allows no more multicast memberships ({text})", fix)
    return _Cause("failed", text, (show_network(facts.system),))


def _other(port: int) -> int:
    return port + 1 if port < 65535 else port - 1
