"""Walks chains of rules as the kernel does, but over what *may* happen: a rule may match, or not, or perhaps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sandpiper.faces.doctor.facts import Verdict

MAX_DEPTH = 32  # jumps into jumps; the kernel allows 16

Action = Literal["accept", "drop", "return", "jump", "goto"]


class Packet(Struct, frozen=True, kw_only=True):
    """The first packet of a peer that reaches this machine: a beacon or a dial, by IPv4."""

    protocol: Literal["tcp", "udp"]
    port: int
    to: str
    interface: str


class Step(Struct, frozen=True):
    """One rule, for one packet. `matches` None: it cannot be told."""

    matches: bool | None
    action: Action
    target: str = ""


class Base(Struct, frozen=True):
    """A chain that the kernel calls by itself, and what happens at its end."""

    chain: str
    accepts: bool


def fate(bases: Iterable[Base], chains: Mapping[str, Sequence[Step]]) -> Verdict:
    """The packet's fate: it must be accepted by every base chain."""
    every: list[set[str]] = []
    for base in bases:
        ends = _walk(base.chain, chains, 0)
        if "fall" in ends:
            ends = (ends - {"fall"}) | {"accept" if base.accepts else "drop"}
        every.append(ends)
    if any(ends == {"drop"} for ends in every):
        return "drop"
    return "accept" if all(ends == {"accept"} for ends in every) else "unknown"


def dropping(bases: Iterable[Base], chains: Mapping[str, Sequence[Step]]) -> str:
    """The first base chain that surely drops it, or nothing."""
    return next((base.chain for base in bases if fate([base], chains) == "drop"), "")


def _walk(chain: str, chains: Mapping[str, Sequence[Step]], depth: int) -> set[str]:
    """All ends that the packet may come to in a chain; `fall`: it comes out at the end."""
    ends: set[str] = set()
    here: set[str]
    if depth > MAX_DEPTH:
        return {"accept", "drop", "fall"}
    for step in chains.get(chain, ()):
        if step.matches is False:
            continue
        match step.action:
            case "accept" | "drop":
                here = {step.action}
            case "jump" | "goto":
                here = _walk(step.target, chains, depth + 1)
            case _:
                here = {"fall"}
        goes_on = step.matches is None
        if step.action == "jump" and "fall" in here:
            here, goes_on = here - {"fall"}, True
        ends |= here
        if not goes_on:
            return ends
    return ends | {"fall"}


def negated(matches: bool | None, negate: bool) -> bool | None:
    """A match, or its opposite."""
    return matches if matches is None or not negate else not matches


def both(one: bool | None, other: bool | None) -> bool | None:
    """Whether two matches hold together."""
    if one is False or other is False:
        return False
    return None if one is None or other is None else True
