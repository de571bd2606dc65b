"""The independent old peer by itself: everything stays on 127.0.0.1, each test on a multicast port of its own."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.oldpeer import OldPeer, Refused, decode_datagram, decode_line, go_time, parse_go_time

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
LOW, HIGH = "0" * 32, "f" * 32
FAST = 0.1


@pytest.fixture
def group() -> tuple[str, int]:
    """A port of 224.0.0.1 that nobody on this machine has bound."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            try:
                sock.bind(("", port))
            except OSError:
                continue
        return "224.0.0.1", port


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("oldpeer")] == []


def line(**changes: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "type": "chat",
        "sender_id": "guest",
        "username": "guest",
        "content": "hi",
        "timestamp": go_time(time.time_ns()),
        "sequence": 1,
        "room_id": "general",
    } | changes


def beacon(**changes: Any) -> dict[str, Any]:
    return {
        "type": "announce",
        "peer_id": "guest",
        "username": "guest",
        "address": "127.0.0.1",
        "port": 9,
        "timestamp": go_time(time.time_ns()),
        "sequence": 1,
    } | changes


def dump(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode()


@contextlib.contextmanager
def raw_link(peer: OldPeer, join: bool = True) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", peer.port), timeout=5) as sock:
        if join:
            sock.sendall(dump(line(type="join", sequence=0)) + b"\n")
            assert peer.wait_for(lambda: "guest" in peer.linked)
        yield sock


# --- decoding -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ns", "offset", "text"),
    [
        (0, 0, "1970-01-01T00:00:00Z"),
        (1_700_000_000_123_456_789, 0, "2023-11-14T22:13:20.123456789Z"),
        (1_700_000_000_120_000_000, 3600, "2023-11-14T23:13:20.12+01:00"),
        (1_700_000_000_000_000_000, -12600, "2023-11-14T18:43:20-03:30"),
    ],
    ids=map("case{}".format, itertools.count()),  # the parameters hold the time of day
)
def test_go_time_round_trip(ns: int, offset: int, text: str) -> None:
    assert go_time(ns, offset) == text
    assert parse_go_time(text) == pytest.approx(ns / 1e9, abs=1e-6)


def test_go_time_uses_the_local_zone() -> None:
    now = time.time_ns()
    assert parse_go_time(go_time(now)) == pytest.approx(now / 1e9, abs=1e-6)


def test_go_zero_time_is_understood() -> None:
    assert parse_go_time("0001-01-01T00:00:00Z") == -62_135_596_800
    assert parse_go_time("0000-01-01T00:00:00Z") < parse_go_time("0001-01-01T00:00:00Z")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2023-11-14",
        "2023-11-14 22:13:20Z",
        "2023-11-14t22:13:20z",
        "2023-11-14T22:13:20",
        "2023-11-14T22:13:20,5Z",
        "2023-11-14T22:13:20.Z",
        "2023-11-14T22:13Z",
        "2023-11-14T2:13:20Z",
        "2023-11-14T24:00:00Z",
        "2023-11-14T22:13:60Z",
        "2023-02-29T22:13:20Z",
        "2023-13-14T22:13:20Z",
        "2023-11-14T22:13:20+0100",
        "2023-11-14T22:13:20+24:00",
        "2023-11-14T22:13:20+01:60",
        "2023-11-14T22:13:20Z\n",
        "٢023-11-14T22:13:20Z",
        "1700000000",
    ],
    ids=map("case{}".format, itertools.count()),  # the parameters hold the time of day
)
def test_not_rfc3339(text: str) -> None:
    with pytest.raises(ValueError):
        parse_go_time(text)


def refusal(raw: bytes, **options: Any) -> str | None:
    try:
        decode_line(raw, **options)
    except Refused as error:
        return error.reason
    return None


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "syntax"),
        (b"SANDPIPER/1", "syntax"),
        (b'{"type":"chat"', "syntax"),
        (b'{"type":"chat"} {}', "syntax"),
        (b'{"sequence":NaN}', "syntax"),
        (b'{"content":"a\tb"}', "syntax"),
        (b"[" * 100_000, "too_long"),
        (b"[" * 60_000, "syntax"),
        (b'{"sequence":' + b"9" * 5000 + b"}", "syntax"),
        (b"[]", "field"),
        (b'"chat"', "field"),
        (dump(line(sequence="1")), "field"),
        (dump(line(sequence=1.0)), "field"),
        (dump(line(sequence=True)), "field"),
        (dump(line(sequence=1 << 63)), "field"),
        (dump(line(content=5)), "field"),
        (dump(line(content=["hi"])), "field"),
        (dump(line(room_id={})), "field"),
        (dump(line(sender_id=7)), "field"),
        (dump(line(type=7)), "field"),
        (dump(line(timestamp=time.time())), "timestamp"),
        (dump(line(timestamp=None)), "timestamp"),
        (dump(line(timestamp="yesterday")), "timestamp"),
        (dump(line(type="msg")), "kind"),
        (dump(line(type="announce")), "kind"),
        (dump(line(timestamp="0001-01-01T00:00:00Z")), "stale"),
    ],
    ids=map("case{}".format, itertools.count()),  # the parameters hold the time of day
)
def test_lines_refused(raw: bytes, reason: str) -> None:
    assert refusal(raw) == reason


def test_lines_taken_as_go_takes_them() -> None:
    stamp = go_time(time.time_ns())
    assert decode_line(dump(line(extra={"v": 1}, sp=[1]))) | {"timestamp": 0} == line(timestamp=0)
    short = decode_line(dump({"type": "chat", "timestamp": stamp, "content": None}))
    assert short == line(id="", sender_id="", username="", content="", sequence=0, room_id="", timestamp=stamp)
    assert decode_line(b' {"TYPE":"chat","Timestamp":"' + stamp.encode() + b'","type":"join"}\r')["type"] == "join"
    odd = b'{"type":"chat","timestamp":"' + stamp.encode() + b'","content":"a\xffb\\ud800c\\ud83d\\ude00"}'
    assert decode_line(odd)["content"] == "a\ufffdb\ufffdc😀"


def test_unix_timestamps_want_a_number() -> None:
    now = time.time()
    assert refusal(dump(line(timestamp=now)), timestamps="unix") is None
    assert refusal(dump(line(timestamp=int(now))), timestamps="unix") is None
    wrongs: list[Any] = [str(int(now)), go_time(time.time_ns()), True, None, [], 10**400]
    for wrong in wrongs:
        assert refusal(dump(line(timestamp=wrong)), timestamps="unix") == "timestamp"
    assert refusal(dump(line(timestamp=now - 31)), timestamps="unix") == "stale"


def test_age_limit() -> None:
    stamp = go_time(1_700_000_000 * 10**9)
    assert refusal(dump(line(timestamp=stamp)), now=1_700_000_030) is None
    assert refusal(dump(line(timestamp=stamp)), now=1_700_000_030.5) == "stale"
    assert refusal(dump(line(timestamp=stamp)), now=1_600_000_000) is None  # the future is not refused
    assert refusal(dump(line(timestamp=stamp)), now=1_800_000_000, max_age=None) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"port": "8080"}, "field"),
        ({"port": 8080.5}, "field"),
        ({"address": None, "username": 3}, "field"),
        ({"type": "chat"}, "kind"),
        ({"peer_id": ""}, "peer_id"),
        ({"timestamp": 1}, "timestamp"),
        ({"timestamp": "2001-01-01T00:00:00Z"}, "stale"),
        ({"sp": "x" * 1024}, "too_long"),
    ],
    ids=map("case{}".format, itertools.count()),  # the parameters hold the time of day
)
def test_datagrams_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(Refused) as caught:
        decode_datagram(dump(beacon(**changes)))
    assert caught.value.reason == reason


def test_datagram_with_foreign_keys_is_taken() -> None:
    assert set(decode_datagram(dump(beacon(sp={"v": 1, "key": "k", "rooms": []})))) == set(beacon())


# --- two peers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ids", [(LOW, HIGH), (HIGH, LOW)])
@pytest.mark.parametrize("timestamps", ["rfc3339", "unix"])
def test_two_peers_talk_and_one_leaves(ids: tuple[str, str], timestamps: Any, group: tuple[str, int]) -> None:
    options: dict[str, Any] = {"multicast": group, "beacon_interval": FAST, "timestamps": timestamps}
    with OldPeer("alice", ids[0], **options) as alice:
        bob = OldPeer("bob", ids[1], **options).start()
        try:
            assert alice.wait_for(lambda: alice.linked and bob.linked)
            assert alice.peers[bob.peer_id].dialled is (alice.peer_id < bob.peer_id)
            assert bob.peers[alice.peer_id].dialled is (bob.peer_id < alice.peer_id)
            assert alice.peers[bob.peer_id].username == "bob"
            said = alice.say("hello <bob> & all 😀")
            bob.say("hello alice")
            assert bob.wait_for(lambda: bob.received)
            assert alice.wait_for(lambda: alice.received)
            assert bob.received == [said]
            assert said["sequence"] == 1
            assert said["room_id"] == "general"
            assert [entry["content"] for entry in alice.received] == ["hello alice"]
        finally:
            bob.stop()
        assert alice.wait_for(lambda: bob.peer_id not in alice.peers)
        assert alice.linked == []
        assert alice.wait_for(lambda: "leave" in {e.type for e in alice.datagrams if e.direction == "in"})
    for peer in (alice, bob):
        assert [(entry.type, entry.message and entry.message["sequence"]) for entry in peer.lines][:2] == [
            ("join", 0),
            ("join", 0),
        ]
        assert peer.rejected.total() == 0
        assert not peer.failures
    assert [entry.type for entry in alice.lines if entry.direction == "in"] == ["join", "chat", "leave"]


def test_the_port_is_from_the_old_range(group: tuple[str, int]) -> None:
    with OldPeer("alice", multicast=group) as alice:
        assert 8080 <= alice.port <= 8999


def test_a_peer_that_vanishes_is_unlinked(group: tuple[str, int]) -> None:
    with OldPeer("alice", LOW, multicast=group, beacon_interval=FAST) as alice:
        bob = OldPeer("bob", HIGH, multicast=group, beacon_interval=FAST).start()
        assert alice.wait_for(lambda: alice.linked)
        bob.stop(leave=False)
        assert alice.wait_for(lambda: not alice.linked)
        assert alice.peers[HIGH].linked is False
        assert "leave" not in {entry.type for entry in alice.lines}
        assert "leave" not in {entry.type for entry in alice.datagrams}


def test_full_mesh_of_four(group: tuple[str, int]) -> None:
    with contextlib.ExitStack() as stack:
        names = ["b", "d", "a", "c"]
        peers = [stack.enter_context(OldPeer(name, name, multicast=group, beacon_interval=FAST)) for name in names]
        assert peers[0].wait_for(lambda: all(len(peer.linked) == 3 for peer in peers))
        for peer in peers:
            peer.say(f"from {peer.username}")
        assert peers[0].wait_for(lambda: all(len(peer.received) == 3 for peer in peers))
        for peer in peers:
            assert {entry["username"] for entry in peer.received} == set(names) - {peer.username}
            assert {other for other, known in peer.peers.items() if known.dialled} == {
                other for other in names if other > peer.peer_id
            }


def test_the_first_announcement_waits_for_the_first_tick(group: tuple[str, int]) -> None:
    with (
        OldPeer("ear", HIGH, multicast=group, listen_only=True) as ear,
        OldPeer("alice", LOW, multicast=group, beacon_interval=0.5, dial=False),
    ):
        started = time.monotonic()
        assert ear.wait_for(lambda: len(ear.datagrams) >= 2)
        first, second = (entry.at - started for entry in ear.datagrams[:2])
        assert 0.4 < first < 0.9
        assert 0.4 < second - first < 0.6
        assert {entry.direction for entry in ear.datagrams} == {"in"}
        with OldPeer("bob", "b", multicast=group, beacon_interval=60, dial=False, announce_at_start=True):
            assert ear.wait_for(lambda: "b" in ear.peers, 1)
    assert ear.linked == []
    assert not ear.failures


def test_ping_is_answered_with_pong(group: tuple[str, int]) -> None:
    with (
        OldPeer("alice", LOW, multicast=group, beacon_interval=60, dial=False) as alice,
        OldPeer("bob", HIGH, multicast=group, beacon_interval=60) as bob,
    ):
        alice.ping()
        assert alice.wait_for(lambda: alice.datagrams and alice.datagrams[-1].type == "pong")
        assert set(alice.peers) == {HIGH}
        assert bob.wait_for(lambda: set(bob.peers) == {LOW})


def test_heartbeats() -> None:
    with (
        OldPeer("alice", LOW, multicast=None, heartbeat_interval=FAST) as alice,
        OldPeer("bob", HIGH, multicast=None) as bob,
    ):
        bob.connect("127.0.0.1", alice.port)
        assert bob.wait_for(lambda: sum(entry.type == "heartbeat" for entry in bob.lines) >= 3)
        beats = [entry.message["sequence"] for entry in bob.lines if entry.type == "heartbeat" and entry.message]
        assert beats == list(range(1, len(beats) + 1))
        assert bob.received == []


def test_connect_without_multicast_and_nobody_there() -> None:
    with OldPeer("alice", LOW, multicast=None) as alice, OldPeer("bob", HIGH, multicast=None) as bob:
        bob.connect("127.0.0.1", alice.port)  # the larger id may dial when it is told to
        assert bob.wait_for(lambda: bob.linked and alice.linked)
        alice.say("hi")
        assert bob.wait_for(lambda: bob.received)
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            with pytest.raises(OSError):
                bob.connect("127.0.0.1", closed.getsockname()[1])


@pytest.mark.parametrize(("first", "second"), [("alice", "bob"), ("bob", "alice")])
def test_of_two_links_the_one_of_the_smaller_id_stays(first: str, second: str) -> None:
    with OldPeer("alice", LOW, multicast=None) as alice, OldPeer("bob", HIGH, multicast=None) as bob:
        peers = {"alice": alice, "bob": bob}
        peers[first].connect("127.0.0.1", peers[second].port)
        assert bob.wait_for(lambda: alice.linked and bob.linked)
        peers[second].connect("127.0.0.1", peers[first].port)
        assert alice.wait_for(lambda: all(sum(e.type == "join" for e in p.lines) == 4 for p in (alice, bob)))
        assert alice.peers[HIGH].dialled
        assert not bob.peers[LOW].dialled
        alice.say("one")
        bob.say("two")
        assert bob.wait_for(lambda: bob.received)
        assert alice.wait_for(lambda: alice.received)
        assert len(bob.received) == len(alice.received) == 1


def test_own_id_at_the_other_end_is_refused() -> None:
    with OldPeer("alice", LOW, multicast=None) as alice, OldPeer("twin", LOW, multicast=None) as twin:
        twin.connect("127.0.0.1", alice.port)
        assert alice.wait_for(lambda: alice.rejected["line:self"] or twin.rejected["line:self"])
        assert alice.linked == twin.linked == []


def test_an_announcement_is_tried_again_after_a_refused_dial(group: tuple[str, int]) -> None:
    with OldPeer("alice", LOW, multicast=group, listen_only=True) as alice:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            port = closed.getsockname()[1]
            with OldPeer("voice", "v", multicast=group, beacon_interval=60, dial=False) as voice:
                voice.cast_raw(dump(beacon(peer_id=HIGH, port=port)))
                assert alice.wait_for(lambda: alice.failures["dial"] == 1)
        with OldPeer("bob", HIGH, port, multicast=group, beacon_interval=FAST) as bob:
            assert alice.wait_for(lambda: alice.linked and bob.linked)


def test_peers_of_the_other_timestamp_kind_do_not_meet(group: tuple[str, int]) -> None:
    with (
        OldPeer("alice", LOW, multicast=group, beacon_interval=FAST) as alice,
        OldPeer("bob", HIGH, multicast=group, beacon_interval=FAST, timestamps="unix") as bob,
    ):
        assert alice.wait_for(lambda: alice.rejected["datagram:timestamp"] and bob.rejected["datagram:timestamp"])
        alice.connect("127.0.0.1", bob.port)
        assert alice.wait_for(lambda: alice.rejected["line:timestamp"] and bob.rejected["line:timestamp"])
        assert alice.peers == bob.peers == {}


def test_a_peer_whose_clock_is_behind_is_refused(group: tuple[str, int]) -> None:
    with (
        OldPeer("alice", LOW, multicast=group, beacon_interval=FAST) as alice,
        OldPeer("bob", HIGH, multicast=group, beacon_interval=FAST, clock_offset=-40),
    ):
        assert alice.wait_for(lambda: alice.rejected["datagram:stale"])
        assert alice.peers == {}


def test_a_silent_peer_is_forgotten(group: tuple[str, int]) -> None:
    with OldPeer("alice", HIGH, multicast=group, beacon_interval=FAST, peer_timeout=0.3) as alice:
        alice.cast_raw(dump(beacon()))
        assert alice.wait_for(lambda: "guest" in alice.peers)
        assert alice.wait_for(lambda: not alice.peers)


# --- what must not break it ---------------------------------------------------------------------------------------


def test_malformed_lines_are_counted_and_do_not_break() -> None:
    with OldPeer("alice", LOW, multicast=None) as alice, raw_link(alice) as sock:
        bad = [
            b"nonsense",
            b"\xff\xfe",
            b"[1]",
            dump(line(sequence="1")),
            dump(line(content=1)),
            dump(line(timestamp=1)),
            dump(line(timestamp="2001-01-01T00:00:00Z")),
            dump(line(type="shout")),
            b"x" * 200_000,
        ]
        for number, raw in enumerate(bad):
            sock.sendall(raw + b"\n" + dump(line(id=str(number))) + b"\n")
        assert alice.wait_for(lambda: len(alice.received) == len(bad))
        assert [entry["id"] for entry in alice.received] == [str(number) for number in range(len(bad))]
        assert alice.rejected == {
            "line:syntax": 2,
            "line:field": 3,
            "line:timestamp": 1,
            "line:stale": 1,
            "line:kind": 1,
            "line:too_long": 1,
        }
        assert sum(entry.refused is not None for entry in alice.lines) == len(bad)


def test_lines_may_come_in_pieces() -> None:
    with OldPeer("alice", LOW, multicast=None) as alice, raw_link(alice) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in dump(line(content="piece by piece")) + b"\n":
            sock.sendall(bytes([byte]))
        assert alice.wait_for(lambda: alice.received)
        sock.sendall(b'{"type":"chat","cont')
        sock.shutdown(socket.SHUT_WR)
        assert alice.wait_for(lambda: alice.rejected["line:truncated"])
        assert alice.wait_for(lambda: not alice.linked)


def test_nothing_counts_before_the_join() -> None:
    with OldPeer("alice", LOW, multicast=None) as alice, raw_link(alice, join=False) as sock:
        sock.sendall(b"SANDPIPER/1\n" + dump(line()) + b"\n" + dump(line(type="join", sequence=1)) + b"\n")
        sock.sendall(dump(line(type="join", sequence=0, sender_id="")) + b"\n")
        assert alice.wait_for(lambda: alice.rejected["line:sender_id"])
        assert alice.rejected == {
            "line:syntax": 1,
            "line:unidentified": 1,
            "line:join_sequence": 1,
            "line:sender_id": 1,
        }
        assert alice.received == []
        assert alice.peers == {}
        sock.sendall(dump(line(type="join", sequence=0)) + b"\n" + dump(line()) + b"\n")
        assert alice.wait_for(lambda: alice.received)
        assert alice.linked == ["guest"]


def test_what_it_writes_is_what_the_description_says() -> None:
    with OldPeer("alice", LOW, multicast=None) as alice, raw_link(alice) as sock, sock.makefile("rb") as stream:
        join = json.loads(stream.readline())
        alice.say("a<b>")
        raw = stream.readline()
        chat = json.loads(raw)
        keys = ["id", "type", "sender_id", "username", "content", "timestamp", "sequence", "room_id"]
        assert list(join) == list(chat) == keys
        assert (join["type"], join["sequence"], join["sender_id"], join["username"]) == ("join", 0, LOW, "alice")
        assert rb'"content":"a\u003cb\u003e"' in raw
        assert raw.endswith(b"}\n")
        assert abs(parse_go_time(chat["timestamp"]) - time.time()) < 5
        threading.Thread(target=alice.stop).start()
        assert json.loads(stream.readline())["type"] == "leave"
        assert stream.readline() == b""
        sock.shutdown(socket.SHUT_WR)
        assert alice.wait_for(lambda: not any(thread.name.startswith("oldpeer") for thread in threading.enumerate()))


def test_malformed_datagrams_are_counted_and_do_not_break(group: tuple[str, int]) -> None:
    with (
        OldPeer("alice", LOW, multicast=group, beacon_interval=60, dial=False) as alice,
        OldPeer("voice", HIGH, multicast=group, beacon_interval=60, dial=False) as voice,
    ):
        for raw in (
            b"",
            b"\x00\x01",
            dump(beacon(port="1")),
            dump(beacon(port=0)),
            dump(beacon(port=70000)),
            dump(beacon(address="example.invalid")),
            dump(beacon(timestamp=1)),
            dump(beacon(timestamp="2001-01-01T00:00:00Z")),
            dump(beacon(type="hello")),
            dump(beacon(peer_id="")),
            dump(beacon(sp="x" * 1024)),
        ):
            voice.cast_raw(raw)
        voice.announce()
        assert alice.wait_for(lambda: HIGH in alice.peers)
        assert alice.rejected == {
            "datagram:syntax": 2,
            "datagram:field": 1,
            "datagram:port": 2,
            "datagram:address": 1,
            "datagram:timestamp": 1,
            "datagram:stale": 1,
            "datagram:kind": 1,
            "datagram:peer_id": 1,
            "datagram:too_long": 1,
        }
        voice.cast_raw(dump(beacon(peer_id="w", address="", sp={"v": 1})))
        assert alice.wait_for(lambda: "w" in alice.peers)
        assert alice.peers["w"].address == "127.0.0.1"
        voice.cast_raw(dump(beacon(peer_id="w", type="leave", port=0, address="")))
        assert alice.wait_for(lambda: "w" not in alice.peers)


def test_a_reader_that_stalls_does_not_hold_up_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.oldpeer.p2pchat.LINK_TIMEOUT", 0.2)
    alice = OldPeer("alice", LOW, multicast=None).start()
    with raw_link(alice):
        deadline = time.monotonic() + 20
        while alice.linked and time.monotonic() < deadline:
            alice.say("x" * 500_000)
        assert alice.linked == []
        began = time.monotonic()
        alice.stop()
        alice.stop()
        assert time.monotonic() - began < 2


def test_start_fails_cleanly_and_only_once(group: tuple[str, int]) -> None:
    with OldPeer("alice", LOW, multicast=group) as alice:
        with pytest.raises(RuntimeError):
            alice.start()
        bob = OldPeer("bob", HIGH, alice.port, multicast=group)
        with pytest.raises(OSError):
            bob.start()
        bob.stop()
    with pytest.raises(ValueError):
        OldPeer("carol", timestamps="epoch")  # type: ignore[arg-type]


# --- as a program -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def program(*options: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-W", "error", "-m", "tests.oldpeer.p2pchat", "--beacon-interval", str(FAST), *options]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def test_program_talks_and_leaves_at_eof(group: tuple[str, int]) -> None:
    where = f"{group[0]}:{group[1]}"
    with OldPeer("alice", LOW, multicast=group, beacon_interval=FAST) as alice:
        with program("--username", "bob", "--peer-id", HIGH, "--multicast", where, "--wait-peers", "1") as bob:
            assert bob.stdin
            assert bob.stdout
            assert bob.stderr
            bob.stdin.write("hello from the pipe ü\n".encode())
            bob.stdin.flush()
            assert alice.wait_for(lambda: alice.received, 10)
            assert alice.received[0]["content"] == "hello from the pipe ü"
            said = alice.say("hello pipe")
            assert json.loads(bob.stdout.readline()) == said
            bob.stdin.close()
            assert bob.wait(5) == 0
            assert bob.stdout.read() == b""
            assert bob.stderr.read() == b""
        assert alice.wait_for(lambda: HIGH not in alice.peers)
        assert alice.lines[-1].type == "leave"


def test_program_connects_and_leaves_at_sigterm() -> None:
    with OldPeer("alice", HIGH, multicast=None) as alice:
        target = f"127.0.0.1:{alice.port}"
        with program("--username", "bob", "--peer-id", LOW, "--no-multicast", "--connect", target, "--events") as bob:
            assert bob.stderr
            assert json.loads(bob.stderr.readline())["event"] == "started"
            assert json.loads(bob.stderr.readline()) == {"event": "linked", "peer_id": HIGH}
            bob.terminate()
            assert bob.wait(5) == 0
        assert alice.wait_for(lambda: alice.lines[-1].type == "leave")


def test_program_says_when_nobody_comes(group: tuple[str, int]) -> None:
    where = f"{group[0]}:{group[1]}"
    with program("--username", "bob", "--multicast", where, "--wait-peers", "1", "--wait-timeout", "0.2") as bob:
        assert bob.stderr
        assert bob.wait(5) == 1
        assert b"no 1 peers within 0.2 s" in bob.stderr.read()
