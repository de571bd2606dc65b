"""A profile with a long history in one room, made through the real store: every record is signed and in its log."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING

from bench.peers import ROOM
from sandpiper.config import Paths
from sandpiper.core.events import Append, SaveRoom
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.rooms import open_room
from sandpiper.crypto.signing import seal_record
from sandpiper.store.history import History
from sandpiper.store.profile import open_profile
from sandpiper.wire.ids import RecordId
from sandpiper.wire.records import AnyBody, Profile, Text

if TYPE_CHECKING:
    from pathlib import Path

OTHERS = ("alice", "bob", "carol", "dave")
COMMON, RARE, PREFIX = "the", "quokka", "sand"
RARES = 3  # messages with the rare word
FIRST = "this is where the room begins"
_RNG = random.Random(7)
# Some 2,000 words; the first are in most messages and the last in few, as in what people write.
_LETTERS = "aeiou" + "bdfgklmnprst" * 2
_WORDS = [COMMON, "and", "to", "it", "we"]
_WORDS += ["".join(_RNG.choices(_LETTERS, k=_RNG.randint(3, 9))) for _ in range(2000)]
_WORDS[300:300] = ["sandwich", "sandal", "sandstone"]
_WEIGHTS = [1 / (rank + 3) for rank in range(len(_WORDS))]


def say(rng: random.Random, number: int) -> str:
    """A line of chat that is found again by its number."""
    return f"no {number} " + " ".join(rng.choices(_WORDS, _WEIGHTS, k=rng.randint(3, 22)))


def fill(home: Path, count: int) -> list[str]:
    """Make the profile `bench` below `home` with `count` messages of five people; their texts, oldest first."""
    rng, room = random.Random(1), open_room(ROOM)
    home.mkdir(parents=True, exist_ok=True)
    with open_profile(Paths(home, home, home / "log", portable=True), "bench", nick="bench", keyring=False) as profile:
        people = [(profile.identity, "bench"), *((Identity(os.urandom(32)), nick) for nick in OTHERS)]
        history = History(profile.history)
        history.save_room(SaveRoom(room, ROOM, "open", None, joined=True))
        seq, prev, clock = [0] * len(people), [RecordId(b"")] * len(people), 0
        now = time.time_ns() // 1_000_000 - count * 20_000

        def write(who: int, body: AnyBody) -> None:
            nonlocal clock
            seq[who], clock = seq[who] + 1, clock + 1
            record = seal_record(people[who][0], room, seq[who], prev[who], (), now + clock * 20_000, body)
            prev[who] = record.id
            history.append(Append(record, clock))

        for who, (_, nick) in enumerate(people):
            write(who, Profile(nick))
        rares = {(part + 1) * count // (RARES + 1) for part in range(RARES)}
        texts = [FIRST, *(say(rng, number) + f" {RARE}" * (number in rares) for number in range(1, count))]
        for number, text in enumerate(texts):
            write(rng.randrange(len(people)), Text(text))
            if number % 1000 == 999:
                history.commit()
        history.close()
    return texts
