"""What a restart must not change: who owns a nick."""

import os
import random
from pathlib import Path
from typing import TYPE_CHECKING

from sandpiper.crypto.identity import Identity
from sandpiper.node.runner import Runner
from sandpiper.store.history import History
from sandpiper.wire.ids import PeerKey

if TYPE_CHECKING:
    from sandpiper.core.names import Names


def test_whoever_was_met_first_has_the_nick_bare_also_after_a_restart(tmp_path: Path) -> None:
    for turn in range(8):
        first, second, plain = (PeerKey(Identity(os.urandom(32)).key) for _ in range(3))
        path = tmp_path / f"{turn}.db"
        history = History(path)
        history.set_ignored(plain, "ben", ignored=True)
        history.saw_peer(first, "ben", 1_000)
        history.saw_peer(second, "ben", 2_000)
        if random.Random(turn).random() < 0.5:
            history.saw_peer(first, "ben", 3_000)
        history.close()
        history = History(path)
        names: Names = Runner(Identity(os.urandom(32)), "ann", history, lambda _: None).names
        history.close()
        assert names.show(first) == "ben"
        assert names.find("ben") == first
        assert names.show(second) == f"ben~{second[:2].hex()}"
        assert names.show(plain).startswith("ben~")
