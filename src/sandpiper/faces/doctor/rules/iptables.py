"""Reads `iptables -S` (which also shows what ufw and Docker set up)."""

from __future__ import annotations

import ipaddress
import shlex
from typing import TYPE_CHECKING

from sandpiper.faces.doctor.rules.walk import Action, Base, Packet, Step, both, fate, negated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sandpiper.faces.doctor.facts import Verdict

_ACTIONS: dict[str, Action] = {"ACCEPT": "accept", "DROP": "drop", "REJECT": "drop", "RETURN": "return"}
# Options that say nothing about which packets, with how many words they take.
_PASSED = {"-m": 1, "--comment": 1, "--reject-with": 1, "--log-prefix": 1, "--log-level": 1}
_SILENT = {"LOG", "NFLOG", "MARK", "CONNMARK", "TRACE", "CT"}  # targets after which the packet goes on


def iptables_fate(text: str, packet: Packet) -> Verdict:
    """What the table `filter` does to the packet."""
    chains: dict[str, list[Step]] = {}
    accepts = True
    for line in text.splitlines():
        try:
            words = shlex.split(line)
        except ValueError:
            return "unknown"
        if words[:2] == ["-P", "INPUT"]:
            accepts = words[2:3] == ["ACCEPT"]
        elif len(words) > 1 and words[0] == "-A":
            chains.setdefault(words[1], []).extend(_steps(words[2:], packet))
    return fate([Base("INPUT", accepts)], chains)


def _steps(words: list[str], packet: Packet) -> Iterator[Step]:
    matches: bool | None = True
    queue = iter(words)
    negate = False
    for word in queue:
        if word == "!":
            negate = True
            continue
        if word in ("-j", "-g"):
            target = next(queue, "")
            if target in _ACTIONS:
                yield Step(matches, _ACTIONS[target])
            elif target not in _SILENT:
                yield Step(matches, "jump" if word == "-j" else "goto", target)
            return
        test = _TESTS.get(word)
        if test is not None:
            matches = both(matches, negated(test(next(queue, ""), packet), negate))
        elif word in _PASSED:
            for _ in range(_PASSED[word]):
                next(queue, "")
        elif word.startswith("-"):
            matches = both(matches, None)  # not known here: it may match or not
        negate = False


def _protocol(value: str, packet: Packet) -> bool | None:
    return value in (packet.protocol, "all")


def _interface(value: str, packet: Packet) -> bool | None:
    return packet.interface.startswith(value[:-1]) if value.endswith("+") else packet.interface == value


def _destination(value: str, packet: Packet) -> bool | None:
    try:
        return ipaddress.ip_address(packet.to) in ipaddress.ip_network(value, strict=False)
    except ValueError:
        return None


def _port(value: str, packet: Packet) -> bool | None:
    found = False
    for part in value.split(","):
        low, _, high = part.partition(":")
        if not low.isdigit() or not (high or low).isdigit():
            return None
        found = found or int(low) <= packet.port <= int(high or low)
    return found


def _state(value: str, _packet: Packet) -> bool | None:
    return "NEW" in value.split(",")


def _kind(value: str, packet: Packet) -> bool | None:
    return value.upper() == _kind_of(packet)


def _kind_of(packet: Packet) -> str:
    return "MULTICAST" if ipaddress.ip_address(packet.to).is_multicast else "LOCAL"


def _link_kind(value: str, packet: Packet) -> bool | None:
    return value == ("multicast" if _kind_of(packet) == "MULTICAST" else "unicast")


_TESTS: dict[str, Callable[[str, Packet], bool | None]] = {
    "-p": _protocol,
    "-i": _interface,
    "-d": _destination,
    "--dport": _port,
    "--dports": _port,
    "--state": _state,
    "--ctstate": _state,
    "--dst-type": _kind,
    "--pkt-type": _link_kind,
}
