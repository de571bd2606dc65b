"""Reads `nft -j list ruleset` (libnftables-json(5))."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from sandpiper.faces.doctor.rules.walk import Action, Base, Packet, Step, both, dropping, fate, negated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sandpiper.faces.doctor.facts import Verdict

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

_FAMILIES = ("inet", "ip")  # those that see a packet of IPv4
_HOOKS = ("prerouting", "input")
_ACTIONS: dict[str, Action] = {
    "accept": "accept",
    "drop": "drop",
    "reject": "drop",
    "return": "return",
    "jump": "jump",
    "goto": "goto",
}
_PASSED = {"counter", "log", "mangle", "notrack", "ct helper", "flow", "meter"}  # the packet goes on, as it was


def nft_fate(raw: bytes, packet: Packet) -> tuple[Verdict, str]:
    """What becomes of the packet, and the chain that drops it as "family table chain"."""
    try:
        listed = msgspec.json.decode(raw)
        items = [item for item in listed["nftables"] if isinstance(item, dict)]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return "unknown", ""
    bases: list[tuple[int, Base]] = []
    chains: dict[str, list[Step]] = {}
    for item in items:
        chain, rule = item.get("chain"), item.get("rule")
        if isinstance(chain, dict) and chain.get("family") in _FAMILIES:
            if chain.get("type") == "filter" and chain.get("hook") in _HOOKS:
                name = _chain(chain, chain.get("name"))
                bases.append((_HOOKS.index(chain["hook"]), Base(name, chain.get("policy") != "drop")))
        elif isinstance(rule, dict) and rule.get("family") in _FAMILIES:
            steps = chains.setdefault(_chain(rule, rule.get("chain")), [])
            steps += _steps(rule, packet)
    ordered = [base for _, base in sorted(bases, key=lambda pair: pair[0])]
    return fate(ordered, chains), dropping(ordered, chains)


def _chain(owner: dict[str, Json], name: Json) -> str:
    return f"{owner.get('family')} {owner.get('table')} {name}"


def _steps(rule: dict[str, Json], packet: Packet) -> Iterator[Step]:
    matches: bool | None = True
    expressions = rule.get("expr")
    for expression in expressions if isinstance(expressions, list) else []:
        if not isinstance(expression, dict) or len(expression) != 1:
            continue
        [(word, value)] = expression.items()
        if word == "match":
            matches = both(matches, _match(value, packet))
        elif word in _ACTIONS:
            yield _step(matches, word, value, rule)
        elif word == "vmap":
            yield from _verdict_map(value, matches, rule, packet)
        elif word in ("xt", "queue"):  # of iptables: `iptables -S` tells; or a program decides
            yield Step(None, "drop")
            yield Step(None, "accept")
        elif word not in _PASSED:
            matches = both(matches, None)


def _step(matches: bool | None, word: str, value: Json, rule: dict[str, Json]) -> Step:
    target = value.get("target") if isinstance(value, dict) else None
    return Step(matches, _ACTIONS[word], _chain(rule, target) if target else "")


def _verdict_map(value: Json, matches: bool | None, rule: dict[str, Json], packet: Packet) -> Iterator[Step]:
    key, cases = (value.get("key"), value.get("data")) if isinstance(value, dict) else (None, None)
    pairs = cases.get("set") if isinstance(cases, dict) else None
    if not isinstance(pairs, list):  # a named map
        yield Step(None, "drop")
        yield Step(None, "accept")
        return
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[1], dict) or len(pair[1]) != 1:
            continue
        [(word, target)] = pair[1].items()
        if word in _ACTIONS:
            yield _step(both(matches, _compare(key, pair[0], packet)), word, target, rule)


def _match(value: Json, packet: Packet) -> bool | None:
    if not isinstance(value, dict) or value.get("op") not in ("==", "!=", "in"):
        return None
    left = value.get("left")
    if _elsewhere(left, packet):  # `tcp dport != 22` also means that it is TCP
        return False
    return negated(_compare(left, value.get("right"), packet), value["op"] == "!=")


def _elsewhere(left: Json, packet: Packet) -> bool:
    """Whether a match looks into a header that the packet does not have."""
    what = left.get("payload") if isinstance(left, dict) else None
    if not isinstance(what, dict):
        return False
    protocol = str(what.get("protocol"))
    if protocol in ("tcp", "udp"):
        return protocol != packet.protocol
    return protocol.startswith(("ip6", "icmp", "sctp", "dccp", "udplite", "esp", "ah"))


def _compare(left: Json, right: Json, packet: Packet) -> bool | None:
    if not isinstance(left, dict) or len(left) != 1:
        return None
    [(kind, what)] = left.items()
    what = what if isinstance(what, dict) else {}
    protocol, field = str(what.get("protocol")), str(what.get("field"))
    match kind:
        case "meta":
            return _meta(str(what.get("key")), right, packet)
        case "ct" if what.get("key") == "state":
            return _any(right, lambda item: item == "new")
        case "fib" if what.get("result") == "type" and what.get("flags") == ["daddr"]:
            return _any(right, lambda item: item == _kind(packet))
        case "payload" if _elsewhere(left, packet):
            return False
        case "payload" if protocol in ("tcp", "udp", "th"):
            return _any(right, lambda item: _is_port(item, packet.port)) if field == "dport" else None
        case "payload" if protocol == "ip" and field == "protocol":
            return _any(right, lambda item: item == packet.protocol)
        case "payload" if protocol == "ip" and field == "daddr":
            return _any(right, lambda item: _is_address(item, packet.to))
        case _:
            return None


def _meta(key: str, right: Json, packet: Packet) -> bool | None:
    match key:
        case "l4proto":
            return _any(right, lambda item: item == packet.protocol)
        case "nfproto" | "protocol":
            return _any(right, lambda item: item in ("ipv4", "ip"))
        case "iif" | "iifname":
            return _any(right, lambda item: _is_name(item, packet.interface))
        case "pkttype":
            return _any(right, lambda item: item == ("multicast" if _kind(packet) == "multicast" else "host"))
        case _:
            return None


def _any(right: Json, test: Callable[[Json], bool | None]) -> bool | None:
    """Whether one value, or any of a list or set of them, passes."""
    if isinstance(right, dict) and isinstance(right.get("set"), list):
        right = right["set"]
    if isinstance(right, str) and right.startswith("@"):
        return None
    if not isinstance(right, list):
        return test(right)
    answers = [test(item) for item in right]
    return True if True in answers else None if None in answers else False


def _kind(packet: Packet) -> str:
    return "multicast" if ipaddress.ip_address(packet.to).is_multicast else "local"


def _is_name(item: Json, name: str) -> bool | None:
    if not isinstance(item, str):
        return None
    return name.startswith(item[:-1]) if item.endswith("*") else item == name


def _is_port(item: Json, port: int) -> bool | None:
    match item:
        case int():
            return item == port
        case {"range": [int(low), int(high)]}:
            return low <= port <= high
        case _:
            return None


def _is_address(item: Json, address: str) -> bool | None:
    try:
        match item:
            case str():
                return ipaddress.ip_address(item) == ipaddress.ip_address(address)
            case {"prefix": {"addr": str(net), "len": int(bits)}}:
                return ipaddress.ip_address(address) in ipaddress.ip_network(f"{net}/{bits}", strict=False)
            case {"range": [str(low), str(high)]}:
                return (
                    int(ipaddress.ip_address(low))
                    <= int(ipaddress.ip_address(address))
                    <= int(ipaddress.ip_address(high))
                )
            case _:
                return None
    except ValueError:
        return None
