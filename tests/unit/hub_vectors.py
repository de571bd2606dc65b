"""The hub's golden vectors: a conversation with every kind of line, bad lines, and a signature."""

from __future__ import annotations

import json
import random

from sandpiper.core.events import Now
from sandpiper.crypto.identity import Identity
from sandpiper.wire.hub import AUTH_DOMAIN, asks
from sandpiper.wire.hub.lines import BadLine, decode_chunk, encode_asks
from tests.unit.parlour import SETTINGS, Parlour, Visitor

HUB, KEY = Identity(bytes(range(32))), Identity(bytes(range(32, 64)))
NONCE = random.Random(5).randbytes(32)

BAD = (
    b"hello", b"[]", b"{}", b'{"type":"reboot"}', b'{"type":"msg"}', b'{"type":"msg","text":""}',
    b'{"type":"msg","text":"a","reply_to":-1}', b'{"type":"msg","text":"\xc3\x28"}', b'{"type":"msg","text":"a"}}',
)  # fmt: skip


def script() -> list[tuple[str, asks.Ask]]:
    """Who says what; alice speaks the founding protocol, the others ours."""
    return [
        ("alice", asks.Nick("alice")),
        ("bob", asks.Hello(agent="vectors 1")),
        ("bob", asks.Nick("alice")),
        ("bob", asks.Nick("bob")),
        ("bob", asks.Join("lobby")),
        ("alice", asks.Msg("hi")),
        ("bob", asks.Msg("hi alice", client_id="7f3a", reply_to=1)),
        ("bob", asks.Msg("hi alice", client_id="7f3a", reply_to=1)),
        ("bob", asks.Edit(2, "hi, alice")),
        ("bob", asks.React(1, "\U0001f44b")),
        ("bob", asks.Typing()),
        ("bob", asks.Retract(2)),
        ("bob", asks.History(limit=2)),
        ("bob", asks.Join("Dev")),
        ("bob", asks.Msg("waves", "dev", action=True)),
        ("bob", asks.Find("wav", "dev")),
        ("bob", asks.Topic("dev", "birds")),
        ("carol", asks.Hello()),
        ("carol", asks.Nick("carol")),
        ("carol", asks.Join("dev")),
        ("bob", asks.Who("dev")),
        ("bob", asks.Rooms()),
        ("bob", asks.Slowmode(5, "dev")),
        ("bob", asks.Mute("carol", "dev")),
        ("carol", asks.Msg("hm", "dev")),
        ("carol", asks.Mute("bob", "dev")),
        ("bob", asks.Operator("carol", "dev")),
        ("bob", asks.Kick("carol", "dev", "noise")),
        ("bob", asks.Ban("carol", "dev", seconds=60)),
        ("carol", asks.Join("dev")),
        ("bob", asks.Close("dev", "done")),
        ("bob", asks.Ping(7)),
        ("bob", asks.Leave("lobby")),
    ]


def conversation() -> list[dict[str, object]]:
    """Each step: who sends which line, and what everybody gets because of it (comings and goings at once)."""
    parlour = Parlour(SETTINGS)
    visitors = {name: Visitor(parlour, "") for name in ("alice", "bob", "carol")}
    steps: list[dict[str, object]] = []
    for who, ask in script():
        parlour.now = Now(parlour.now.mono + 1, parlour.now.wall_ms + 1000)
        before = {name: len(visitor.raw) for name, visitor in visitors.items()}
        line = encode_asks([ask])
        visitors[who].send(line)
        parlour.now = Now(parlour.now.mono + 1, parlour.now.wall_ms)
        parlour.turn()
        got = {
            name: [raw.decode() for part in visitor.raw[before[name] :] for raw in part.splitlines()]
            for name, visitor in visitors.items()
        }
        steps.append({"from": who, "line": line.decode().rstrip(), "got": {n: some for n, some in got.items() if some}})
    return steps


def hub() -> object:
    """The file's content."""
    refused = []
    for raw in BAD:
        (bad,) = decode_chunk(raw + b"\n")
        assert isinstance(bad, BadLine)
        refused.append({"line": raw.decode("latin-1"), "code": bad.code})
    signed = AUTH_DOMAIN + HUB.key + NONCE
    return {
        "page": "docs/protocol/hub.md",
        "bad": refused,
        "auth": {
            "seed": KEY.seed.hex(),
            "key": KEY.key.hex(),
            "hub": HUB.key.hex(),
            "nonce": NONCE.hex(),
            "signature": KEY.sign(signed).hex(),
        },
        "conversation": conversation(),
    }


def kinds(steps: list[dict[str, object]]) -> set[str]:
    """The types of all lines in a conversation."""
    lines = [str(step["line"]) for step in steps]
    for step in steps:
        got = step["got"]
        assert isinstance(got, dict)
        lines += [line for some in got.values() for line in some]
    return {json.loads(line)["type"] for line in lines}
