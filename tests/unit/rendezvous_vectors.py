"""Golden vectors of the rendezvous: every line, and a conversation of three with the desk, made by our code."""

from __future__ import annotations

import json
import random

from sandpiper.core.events import Now
from sandpiper.hub.rendezvous.desk import Desk, HandOver, Seen, Tell
from sandpiper.hub.rendezvous.limits import RendezvousSettings
from sandpiper.hub.rendezvous.quotas import Quotas
from sandpiper.wire.rendezvous import (
    AnyAsk,
    AnyWord,
    Bridge,
    Bridged,
    Candidate,
    Closing,
    Coordinate,
    Coordinated,
    CreateRoom,
    LeaveRoom,
    LookupRoom,
    Observe,
    Observed,
    PeerJoined,
    PeerLeft,
    PeerRegistered,
    Ping,
    Pong,
    Refusal,
    RegisterPeer,
    RoomCreated,
    RoomExpired,
    RoomInfo,
    Signal,
    Signalled,
    encode_line,
)

TAG = bytes(range(32))
ID, OTHER = "0123456789abcdef", "fedcba9876543210"
HOME, AWAY = Candidate("192.168.1.20", 8080), Candidate("2001:db8::5", 8081)


def asks() -> list[AnyAsk]:
    return [
        CreateRoom(),
        CreateRoom(code="42"),
        RegisterPeer(code="42"),
        RegisterPeer(tag=TAG),
        LeaveRoom(code="42"),
        LookupRoom(tag=TAG),
        Observe(),
        Bridge(token=TAG[:16]),
        Coordinate(peer=ID, candidates=(HOME, AWAY)),
        Signal(to=ID, data=b"sealed"),
        Ping(n=7),
        Pong(n=7),
    ]


def words() -> list[AnyWord]:
    return [
        RoomCreated(code="42", expires_at=1_750_086_400),
        PeerRegistered(peer=ID, peers=(OTHER,), code="42", expires_at=1_750_086_400),
        PeerRegistered(peer=ID, tag=TAG),
        RoomInfo(peers=(ID, OTHER), code="42"),
        RoomInfo(tag=TAG),
        PeerJoined(peer=OTHER, code="42"),
        PeerLeft(peer=OTHER, tag=TAG),
        RoomExpired(code="42"),
        Coordinated(peer=OTHER, candidates=(AWAY,), start_in=80),
        Signalled(sender=OTHER, data=b"sealed"),
        Observed(host="203.0.113.9", port=40_001, relay=True, second_port=8001, time=1_795_000_000_000),
        Observed(host="127.0.0.1", port=40_001, tunnel=True),
        Bridged(),
        Closing(text="The rendezvous closes.", again_in=2.0),
        Refusal(code="rate_limited", text="Wait a little.", about="register_peer", room="42", again_in=1.5),
        Ping(n=8),
        Pong(n=8),
    ]


def meeting() -> list[dict[str, object]]:
    """Two meet under a code, dial each other, and make a bridge; a third who is elsewhere is refused."""
    desk = Desk(Quotas(RendezvousSettings()), random.Random(1).randrange)
    now = Now(mono=1000.0, wall_ms=1_750_000_000_000)
    steps: list[dict[str, object]] = []
    ids: dict[int, str] = {}
    for number in (1, 2, 3):
        desk.enter(number, Seen(f"203.0.113.{number}", 40_000 + number, f"203.0.113.{number}"), now)

    def say(number: int, ask: AnyAsk) -> None:
        line = encode_line(ask)
        told: list[list[object]] = []
        for effect in desk.hear(number, line[:-1], now):
            if isinstance(effect, Tell):
                told.append([effect.guest, encode_line(effect.word).decode()])
                if isinstance(effect.word, PeerRegistered):
                    ids[number] = effect.word.peer
            elif isinstance(effect, HandOver):
                told.append([effect.guest, ""])
        steps.append({"peer": number, "says": line.decode(), "told": told})

    say(1, CreateRoom())
    told = steps[-1]["told"]
    assert isinstance(told, list)
    code = json.loads(told[0][1])["code"]
    say(1, RegisterPeer(code=code))
    say(2, LookupRoom(code=code))
    say(2, RegisterPeer(code=code))
    say(3, RegisterPeer(tag=TAG))
    say(2, Signal(to=ids[1], data=b"sealed"))
    say(3, Signal(to=ids[1], data=b"sealed"))
    say(1, Coordinate(peer=ids[2], candidates=(HOME,)))
    say(2, Coordinate(peer=ids[1], candidates=(AWAY,)))
    say(2, LeaveRoom(code=code))
    say(2, Bridge(token=TAG))
    return steps


def rendezvous() -> object:
    return {
        "page": "docs/protocol/rendezvous.md",
        "asks": [encode_line(ask).decode() for ask in asks()],
        "words": [encode_line(word).decode() for word in words()],
        "meeting": meeting(),
    }
