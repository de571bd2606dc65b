"""A program that keeps records and says so, to be killed at any moment. Reads paths from stdin; for each, forks a child
that opens the history there, posts for ever, and writes a line for each record once it is on disk.
"""

import os
import sys
from pathlib import Path
from typing import Any

from sandpiper.core.events import Accepted, JoinOpen, Post
from sandpiper.crypto.identity import Identity
from sandpiper.crypto.rooms import open_room
from sandpiper.node.runner import Runner
from sandpiper.store import history as history_module
from sandpiper.store.history import open_history
from sandpiper.wire.records import Text

SEED = b"\x07" * 32
history_module.CHECKPOINT_EVERY = 25  # so that checkpoints are under way when it is killed
history_module.INDEX_FROM = 40


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def post_for_ever(path: Path) -> None:
    say("pid", os.getpid())
    opened = open_history(path)
    runner = Runner(Identity(SEED), "alice", opened.history, lambda _at: None)

    def told(notice: Any) -> None:
        if isinstance(notice, Accepted):
            say("kept", notice.record.seq, notice.record.id.hex())

    runner.subscribe(told)
    runner.do(JoinOpen("general"))
    number = 0
    while True:
        number += 1
        runner.do(Post(open_room("general"), Text(f"message {number} of {os.getpid()} " + "x" * (number * 37 % 3000))))


if __name__ == "__main__":
    for line in sys.stdin:
        child = os.fork()
        if not child:
            post_for_ever(Path(line.strip()))
        os.waitpid(child, 0)
        say("dead")
