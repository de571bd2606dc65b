"""The `p2pchat` command with its own options, and a peer of the founding program written by somebody else."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.oldpeer import OldPeer
from tests.program import SANDPIPER, Program

LOW, HIGH = "0" * 8, "z" * 8  # ours is hexadecimal and lies between them


@pytest.fixture
def group(multicast: str) -> tuple[str, int]:
    host, _, port = multicast.partition(":")
    return host, int(port)


@pytest.fixture
def ours(tmp_path: Path, multicast: str) -> Iterator[Program]:
    command = (str(SANDPIPER.with_name("p2pchat")), "-username", "alice", "-multicast", multicast, "--json")
    with Program("alice", tmp_path, command=command) as program:
        yield program.ready()


@pytest.mark.parametrize(("peer_id", "dials"), [(LOW, True), (HIGH, False)], ids=["it dials", "we dial"])
def test_the_command_and_an_old_peer_join_chat_heartbeat_and_leave(
    ours: Program, group: tuple[str, int], peer_id: str, dials: bool
) -> None:
    old = OldPeer("bob", peer_id, multicast=group, beacon_interval=0.5)
    with old:
        assert old.wait_for(lambda: old.linked, 10)
        (link,) = old.peers.values()
        assert (link.username, link.dialled) == ("alice", dials)
        ours.wait(lambda me: "bob" in str(me.of("peer")), 10, "the old peer")
        old.say("hello from the old world")
        ours.shows("hello from the old world")
        assert [e["plain"] for e in ours.of("message")] == [True]
        ours.say("hello from the new one")
        assert old.wait_for(lambda: [m["content"] for m in old.received] == ["hello from the new one"], 5)
        joins = [line for line in old.lines if line.direction == "in" and line.type == "join"]
        assert joins
        assert joins[0].message is not None
        assert joins[0].message["sequence"] == 0
        assert old.wait_for(lambda: any(line.direction == "in" and line.type == "heartbeat" for line in old.lines), 25)
        ours.stop()
        assert old.wait_for(lambda: not old.linked, 10)
        assert any(line.direction == "in" and line.type == "leave" for line in old.lines)
        assert not old.rejected, old.rejected
    assert [message.text for message in ours.history()] == ["hello from the old world", "hello from the new one"]


def test_an_old_peer_that_leaves_is_told_to_be_gone(ours: Program, group: tuple[str, int]) -> None:
    with OldPeer("bob", LOW, multicast=group, beacon_interval=0.5) as old:
        assert old.wait_for(lambda: old.linked, 10)
    ours.wait(lambda me: me.of("peer") and me.of("peer")[-1]["state"] == "lost", 10, "bob gone")
