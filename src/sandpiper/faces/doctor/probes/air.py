"""Asks on the multicast group who is there, and listens: to our own question and to everybody's beacons."""

from __future__ import annotations

import asyncio
import os
import re
import time
from functools import partial
from typing import TYPE_CHECKING

from sandpiper.config import Address
from sandpiper.errors import UsageError
from sandpiper.faces.doctor.facts import Air, HeardPeer, Strange, Trouble, Voice
from sandpiper.faces.doctor.probes.question import PEER_ID, echo_of, encode_question
from sandpiper.net.interfaces import Interface, list_interfaces
from sandpiper.net.lan import Multicast
from sandpiper.wire.beacon import BadBeacon, Beacon, decode_beacon
from sandpiper.wire.text import clean_line

if TYPE_CHECKING:
    from collections.abc import Mapping

WAIT_SECONDS = 6.5  # a beacon comes every 5 s, with a second of jitter
ENOUGH_SECONDS = 1.2  # two questions and their answers; a pong comes within 50 ms
ASK_SECONDS = 0.6  # between questions: a peer answers once in half a second
MAX_QUESTIONS = 12
MAX_PEERS = 256  # a hostile LAN cannot make the report endless
MAX_STRANGE = 8
MAX_PLACES = 8  # addresses of one peer


class Seen:
    """One peer, while we listen."""

    def __init__(self, beacon: Beacon) -> None:
        self.beacon = beacon
        self.places: list[Address] = []
        self.offset: float | None = None  # the smallest (arrival - timestamp): fastest way
        self.answered = False


class Ear:
    """What was heard so far."""

    def __init__(self, token: str, own: Mapping[str, str]) -> None:
        self.echoes: set[str] = set()  # our addresses whose question came back
        self.peers: dict[str, Seen] = {}
        self.strange: dict[str, Strange] = {}
        self._token = token
        self._own = own

    def heard(self, raw: bytes, host: str) -> None:
        """A datagram came."""
        address = echo_of(raw, self._token)
        if address is not None:
            self.echoes.add(address)
            return
        try:
            beacon = decode_beacon(raw)
        except BadBeacon as exc:
            if len(self.strange) < MAX_STRANGE:
                # A wrong version is the one fault for which there is a hint: update.
                self.strange[host] = Strange(host, clean_line(exc.sentence(), 160), version=bool(exc.hint))
            return
        if beacon.peer_id == PEER_ID:
            return
        if beacon.type == "leave":
            self.peers.pop(beacon.peer_id, None)
            return
        if not beacon.port or (beacon.peer_id not in self.peers and len(self.peers) >= MAX_PEERS):
            return
        self._note(beacon, host)

    def _note(self, beacon: Beacon, host: str) -> None:
        seen = self.peers.setdefault(beacon.peer_id, Seen(beacon))
        seen.beacon = beacon
        place = Address(host, beacon.port)
        if place not in seen.places and len(seen.places) < MAX_PLACES:
            seen.places.append(place)
        seen.answered = seen.answered or beacon.type == "pong"
        if beacon.timestamp:
            offset = time.time() - beacon.timestamp
            seen.offset = offset if seen.offset is None else min(offset, seen.offset)

    def here(self, seen: Seen) -> bool:
        """Whether it is on this machine."""
        return all(place.host.partition("%")[0] in self._own for place in seen.places)

    def unanswered(self) -> bool:
        """Whether some native peer was heard and has not answered yet."""
        return any(seen.beacon.key is not None and not seen.answered for seen in self.peers.values())

    def somebody(self, *, elsewhere: bool) -> bool:
        """Whether a native peer has answered, on another machine if `elsewhere`."""
        natives = [seen for seen in self.peers.values() if seen.beacon.key is not None and seen.answered]
        return any(not (elsewhere and self.here(seen)) for seen in natives)

    def facts(self) -> tuple[HeardPeer, ...]:
        """The peers, those on other machines first, then by nick."""
        found = [
            HeardPeer(
                nick=seen.beacon.username,
                key=seen.beacon.key.hex() if seen.beacon.key is not None else "",
                places=tuple(sorted(seen.places, key=lambda place: (":" in place.host, place))),
                here=self.here(seen),
                answered=seen.answered,
                skew=None if seen.offset is None else -seen.offset,
            )
            for seen in self.peers.values()
        ]
        return tuple(sorted(found, key=lambda peer: (peer.here, peer.nick, peer.key)))


async def probe_air(
    group: Address, only: tuple[str, ...], own: Mapping[str, str], *, lan: bool, wait: float, patient: bool
) -> Air:
    """Ask and listen, at most `wait` seconds, less when a native peer answers.

    `only` are interfaces that exist, `own` this machine's addresses with their interfaces' names. `lan`: peers may be
    on other machines, so one here does not end the waiting. `patient`: always wait, for peers of the old program,
    which cannot be asked.
    """
    token = os.urandom(8).hex()
    ear = Ear(token, own)
    multicast = Multicast(group.host, group.port, only)
    multicast.listen(ear.heard)
    loop = asyncio.get_running_loop()
    start = loop.time()
    try:
        await multicast.look()
        asked, questions = -ASK_SECONDS, 0
        while True:
            elapsed = loop.time() - start
            early = not patient and elapsed >= ENOUGH_SECONDS and ear.somebody(elsewhere=lan)
            if (early or elapsed >= wait) and not (ear.unanswered() and elapsed < asked + ASK_SECONDS):
                break
            if elapsed >= asked + ASK_SECONDS and questions < MAX_QUESTIONS and (questions < 2 or ear.unanswered()):
                asked, questions = elapsed, questions + 1
                multicast.cast(partial(encode_question, token, questions))
            await asyncio.sleep(0.05)
        used = list_interfaces(only)
    except UsageError:  # the last interface that the settings allow has gone meanwhile
        return Air(listened=loop.time() - start)
    finally:
        multicast.close()
    return Air(
        voices=tuple(_voices(used, own, multicast.problems, ear.echoes)),
        peers=ear.facts(),
        strange=tuple(ear.strange.values()),
        listened=loop.time() - start,
    )


def _voices(
    used: tuple[Interface, ...], own: Mapping[str, str], problems: dict[str, str], echoes: set[str]
) -> list[Voice]:
    return [
        Voice(
            name=own.get(card.address, card.name),
            address=card.address,
            v6=card.v6,
            loopback=card.loopback,
            heard=card.address in echoes,
            trouble=_trouble(problems[card.address]) if card.address in problems else None,
        )
        for card in used
        if not (card.v6 and card.loopback)
    ]


def _trouble(text: str) -> Trouble:
    """An OSError's text, as `Multicast.problems` has it, taken apart again."""
    found = re.match(r"\[(?:Errno|WinError) (\d+)\] (.*)", text)
    return Trouble(int(found[1]), found[2]) if found else Trouble(0, text)
