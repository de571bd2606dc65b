"""The rendezvous and relay as a real process, spoken to by plain sockets: as a stranger would who has only the page."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.relayed import Caller, Relayed, free_port, tag, token
from tests.served import HOST, trusting

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Relayed]:
    with Relayed(tmp_path_factory.mktemp("relay"), "--metrics", "all") as served:
        yield served
        served.unharmed()


def bridged(port: int, number: int | None = None) -> tuple[Caller, Caller]:
    given = token(number)
    near, far = Caller(port), Caller(port)
    near.say(type="bridge", token=given)
    far.say(type="bridge", token=given)
    assert near.hear() == far.hear() == {"type": "bridged"}
    return near, far


# ---------------------------------------------------------------- the rendezvous


def test_two_strangers_meet_under_a_short_code_and_signal_each_other(relay: Relayed) -> None:
    with Caller(relay.port) as alice, Caller(relay.port) as bob:
        made = alice.ask(type="create_room")
        assert re.fullmatch("[1-9][0-9]?", made["code"])
        assert 86_000 < made["expires_at"] - time.time() < 86_401
        me = alice.register(code=made["code"])
        assert "peers" not in me
        assert bob.ask(type="lookup_room", code=made["code"])["peers"] == [me["peer"]]
        him = bob.register(code=made["code"])
        assert him["peers"] == [me["peer"]]
        assert alice.hear() == {"type": "peer_joined", "peer": him["peer"], "code": made["code"]}
        sealed = base64.b64encode(os.urandom(16 * 1024)).decode()
        bob.say(type="signal", to=me["peer"], data=sealed)
        assert alice.hear() == {"type": "signal", "from": him["peer"], "data": sealed}
        bob.sock.shutdown(socket.SHUT_RDWR)
        assert alice.hear() == {"type": "peer_left", "peer": him["peer"], "code": made["code"]}


def test_a_remembered_room_meets_under_its_tag(relay: Relayed) -> None:
    with Caller(relay.port) as alice, Caller(relay.port) as bob:
        me = alice.register(tag=tag(1))
        him = bob.register(tag=tag(1))
        assert him["peers"] == [me["peer"]]
        assert alice.hear()["tag"] == tag(1)
        assert bob.ask(type="lookup_room", tag=tag(2)) == {"type": "room_info", "tag": tag(2)}


def test_candidates_are_given_only_when_both_sides_ask(relay: Relayed) -> None:
    with Caller(relay.port) as alice, Caller(relay.port) as bob:
        me = alice.register(tag=tag(3))
        him = bob.register(tag=tag(3))
        alice.hear()
        mine, his = [{"host": "192.0.2.1", "port": 1}], [{"host": "192.0.2.2", "port": 2}]
        alice.say(type="coordinate_connection", peer=him["peer"], candidates=mine)
        assert alice.ask(type="lookup_room", tag=tag(3))["type"] == "room_info", "nothing is told before both ask"
        bob.say(type="coordinate_connection", peer=me["peer"], candidates=his)
        for one, peer, candidates in ((alice, him, his), (bob, me, mine)):
            word = one.hear()
            assert (word["peer"], word["candidates"]) == (peer["peer"], candidates)  # none of this machine: a tunnel
            assert 0 < word["start_in"] < 1000


def test_strangers_to_a_room_cannot_signal_into_it(relay: Relayed) -> None:
    with Caller(relay.port) as alice, Caller(relay.port) as eve:
        me = alice.register(tag=tag(4))
        eve.register(tag=tag(5))
        answer = eve.ask(type="signal", to=me["peer"], data="eA==")
        assert (answer["code"], answer["peer"]) == ("no_peer", me["peer"])
        assert eve.ask(type="coordinate_connection", peer=me["peer"], candidates=[])["code"] == "no_peer"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"nonsense\n", "not_json"),
        (b'{"type":"observe","v":2}\n', "version"),
        (b'{"type":"fly"}\n', "unknown_type"),
        (b'{"type":"register_peer"}\n', "not_valid"),
        (b'{"type":"register_peer","code":"5\\n"}\n', "not_valid"),
        (b'{"type":"signal","to":"x","data":"' + b"A" * 30_000 + b'"}\n', "not_valid"),
        (b'{"type":"observe","x":"' + b"y" * 70_000, "line_too_long"),
        (b"\xff\xfe\n", "not_json"),
    ],
)
def test_what_is_no_ask_is_told_so(relay: Relayed, raw: bytes, code: str) -> None:
    with Caller(relay.port) as one:
        one.raw(raw)
        assert one.hear()["code"] == code


def test_twenty_bad_lines_end_a_connection(relay: Relayed) -> None:
    with Caller(relay.port) as one:
        one.raw(b"{}\n" * 25)
        assert [one.hear()["code"] for _ in range(20)] == ["not_valid"] * 20
        assert one.hear()["code"] == "too_many_errors"
        assert one.ended()


def test_one_is_told_where_one_is_seen_and_that_it_is_a_tunnel(relay: Relayed) -> None:
    with Caller(relay.port) as one:
        seen = one.ask(type="observe")
        assert (seen["host"], seen["port"]) == one.sock.getsockname()
        assert seen["tunnel"] is True
        assert seen["relay"] is True


def test_both_ports_see_the_same_address(tmp_path: Path) -> None:
    second = free_port()
    with (
        Relayed(tmp_path, "--second-port", str(second)) as served,
        Caller(served.port) as one,
        Caller(second) as other,
    ):
        assert one.ask(type="observe")["second_port"] == second
        assert other.ask(type="observe")["port"] == other.sock.getsockname()[1]


def test_it_is_reached_by_ipv6(tmp_path: Path) -> None:
    port = free_port()  # one for both families
    with Relayed(tmp_path, "--host", "::1", "--port", str(port)) as served, Caller(served.port, "::1") as one:
        assert one.ask(type="observe")["host"] == "::1"


# ---------------------------------------------------------------- limits


def test_an_address_has_only_so_many_of_everything(tmp_path: Path) -> None:
    limits = ("--count-loopback", "--joins-a-minute", "5", "--bridges-an-address", "2", "--connections-an-address", "4")
    with Relayed(tmp_path, *limits) as served:
        with Caller(served.port) as one, Caller(served.port) as other, Caller(served.port) as third:
            answers = [one.ask(type="create_room") for _ in range(6)]
            assert [answer["type"] for answer in answers] == ["room_created"] * 5 + ["error"]
            assert answers[-1]["code"] == "rate_limited"
            assert 0 < answers[-1]["again_in"] <= 13
            other.say(type="bridge", token=token())
            third.say(type="bridge", token=token())
            with Caller(served.port) as fourth:
                assert fourth.ask(type="bridge", token=token())["code"] == "too_many_bridges"
        served.until(lambda me: me.metric("relay_connections") == 0, "places to be free again")
        crowd = [Caller(served.port) for _ in range(5)]
        for one in crowd[:4]:
            one.ask(type="observe")
        assert crowd[4].ask(type="observe")["code"] == "full"
        for one in crowd:
            one.__exit__()


def test_bytes_of_an_address_pass_at_its_rate(tmp_path: Path) -> None:
    with Relayed(tmp_path, "--count-loopback", "--relay-rate", "1", "--relay-burst", "0.5") as served:
        near, far = bridged(served.port)
        with near, far:
            began = time.monotonic()
            sender = threading.Thread(target=near.raw, args=(bytes(2 << 20),))
            sender.start()
            assert len(far.read(2 << 20)) == 2 << 20
            sender.join()
            assert time.monotonic() - began > 1.2  # 1.5 MiB beyond the burst, at 1 MiB a second


def test_a_code_ends_when_its_time_has_come(tmp_path: Path) -> None:
    with Relayed(tmp_path, "--code-hours", "0.001") as served, Caller(served.port) as one:
        code = one.ask(type="create_room")["code"]
        one.register(code=code)
        assert one.hear() == {"type": "room_expired", "code": code}
        assert one.ask(type="register_peer", code=code)["code"] == "no_room"


# ---------------------------------------------------------------- bridges


def test_a_bridge_is_nothing_but_bytes_both_ways(relay: Relayed) -> None:
    given = token()
    early, there, back = os.urandom(5000), os.urandom(3 << 20), os.urandom(1 << 20)
    with Caller(relay.port) as near, Caller(relay.port) as far:
        near.raw(json.dumps({"type": "bridge", "token": given}).encode() + b"\n" + early)
        far.say(type="bridge", token=given)
        assert near.hear() == far.hear() == {"type": "bridged"}
        senders = [threading.Thread(target=near.raw, args=(there,)), threading.Thread(target=far.raw, args=(back,))]
        for sender in senders:
            sender.start()
        assert far.read(len(early + there)) == early + there
        assert near.read(len(back)) == back
        for sender in senders:
            sender.join()
        near.sock.shutdown(socket.SHUT_WR)
        assert far.read(1) == b"", "the end passes"
        far.raw(b"still here")
        assert near.read(10) == b"still here", "a connection that is closed halfway still hears"


def test_a_side_that_does_not_read_costs_no_memory(relay: Relayed) -> None:
    pairs = [bridged(relay.port) for _ in range(20)]
    before = relay.resident()
    for near, _ in pairs:
        near.sock.setblocking(False)
    chunk, quiet = bytes(1 << 20), 0
    while quiet < 50:  # until nothing is taken any more
        sent = 0
        for near, _ in pairs:
            try:
                sent += near.sock.send(chunk)
            except BlockingIOError:
                continue
        quiet = 0 if sent else quiet + 1
        if not sent:
            relay.metric("relay_held_bytes")  # a round trip: the relay has come round
    assert relay.metric("relay_held_bytes") <= 20 * 64 * 1024
    assert relay.resident() - before < 20 << 20
    for near, far in pairs:
        near.__exit__()
        far.__exit__()


def test_who_waits_for_its_other_half_is_not_read_for_long(tmp_path: Path) -> None:
    with Relayed(tmp_path) as relay, Caller(relay.port) as one:
        one.say(type="bridge", token=token())
        relay.until(lambda me: me.metric("relay_waiting") == 1, "half a bridge")
        one.sock.setblocking(False)
        quiet = 0
        while quiet < 20:  # until nothing is taken any more
            try:
                one.sock.send(bytes(1 << 16))
            except BlockingIOError:
                quiet += 1
                relay.metric("relay_held_bytes")
        assert relay.metric("relay_held_bytes") == 8 * 1024


def test_registered_peers_and_short_tokens_make_no_bridge(relay: Relayed) -> None:
    with Caller(relay.port) as one:
        one.register(tag=tag(9))
        assert one.ask(type="bridge", token=token())["code"] == "not_now"
        assert one.ask(type="bridge", token="eA==")["code"] == "not_valid"


def test_floods_leave_memory_flat_and_the_relay_usable(relay: Relayed) -> None:
    def flood() -> None:
        callers = [Caller(relay.port) for _ in range(200)]
        for number, one in enumerate(callers):
            match number % 4:
                case 0:
                    one.raw(b"x" * 60_000)  # no line
                case 1:
                    one.say(type="bridge", token=token())  # half a bridge
                case 2:
                    one.raw(b"".join(b'{"type":"register_peer","tag":"%s"}\n' % tag(n).encode() for n in range(100)))
                case _:
                    one.raw(b'{"type":"observe"}\n' + b"\n" * 60_000)
        for one in callers:
            one.__exit__()
        relay.until(lambda me: me.metric("rendezvous_guests") + me.metric("relay_connections") == 0, "an empty relay")

    flood()
    before = relay.resident()
    for _ in range(4):
        flood()
    assert relay.resident() - before < 8 << 20
    with Caller(relay.port) as one:
        assert one.ask(type="observe")["type"] == "observed"
    relay.unharmed()


# ---------------------------------------------------------------- one port for everything


def test_chat_and_rendezvous_share_a_port(tmp_path: Path) -> None:
    with Relayed(tmp_path, roles="chat,rendezvous,relay") as served:
        with Caller(served.port) as peer, Caller(served.port) as guest:
            guest.say(type="nick", nick="alice")
            assert guest.hear()["text"] == "nick set to alice"
            assert peer.ask(type="create_room")["type"] == "room_created"
            assert guest.ask(type="fly")["code"] == "unknown_type"
        near, far = bridged(served.port)
        near.raw(b"x")
        assert far.read(1) == b"x"
        near.__exit__()
        far.__exit__()


def test_a_relay_alone_serves_no_chat_and_keeps_nothing(tmp_path: Path) -> None:
    with Relayed(tmp_path) as served, Caller(served.port) as one:
        assert one.ask(type="nick", nick="alice")["code"] == "unknown_type"
        assert served.get("/healthz")[0] == 200
    assert not list(tmp_path.rglob("history.db"))


def test_a_rendezvous_without_a_relay_makes_no_bridges(tmp_path: Path) -> None:
    with Relayed(tmp_path, roles="rendezvous") as served, Caller(served.port) as one:
        assert "relay" not in one.ask(type="observe")
        assert one.ask(type="bridge", token=token())["code"] == "not_served"


def test_bridges_go_through_tls(tmp_path: Path) -> None:
    with Relayed(tmp_path, "--tls", "self-signed", "--tls-only") as served:
        with Caller(served.port) as plain:
            assert plain.ask(type="observe")["code"] == "tls_only"
        sides: list[ssl.SSLSocket] = []
        for _ in range(2):
            raw = socket.create_connection((HOST, served.port), 10)
            sides.append(trusting().wrap_socket(raw, server_hostname=HOST))
            sides[-1].sendall(b'{"type":"bridge","token":"%s"}\n' % token(7).encode())
        for side in sides:
            assert side.recv(100) == b'{"type":"bridged"}\n'
        sent = os.urandom(1 << 20)
        sender = threading.Thread(target=sides[0].sendall, args=(sent,))
        sender.start()
        got = b""
        while len(got) < len(sent):
            got += sides[1].recv(65536)
        assert got == sent
        sender.join()
        for side in sides:
            side.close()
        served.unharmed()


def test_everybody_is_told_when_it_closes_and_it_ends_at_once(tmp_path: Path) -> None:
    with Relayed(tmp_path) as served, Caller(served.port) as one:
        one.register(tag=tag(1))
        near, far = bridged(served.port)
        served.process.send_signal(signal.SIGTERM)
        assert one.hear()["type"] == "closing"
        assert one.ended()
        assert near.ended()
        assert far.ended()
        assert served.process.wait(10) == 0
        near.__exit__()
        far.__exit__()
        assert "Traceback" not in "".join(served.lines)


def test_nothing_that_peers_say_is_logged(tmp_path: Path) -> None:
    with Relayed(tmp_path, "--debug") as served:
        with Caller(served.port) as one, Caller(served.port) as other:
            me = one.register(tag=tag(77))
            other.register(tag=tag(77))
            other.say(type="signal", to=me["peer"], data=base64.b64encode(b"whispered").decode())
            one.hear()
            one.hear()
        near, far = bridged(served.port, 78)
        near.raw(b"whispered")
        far.read(9)
        near.__exit__()
        far.__exit__()
        served.until(lambda me: me.metric("relay_connections") == 0, "the end of the bridge")
    told = "".join(served.lines) + "".join(path.read_text() for path in tmp_path.rglob("*.log"))
    for secret in ("whispered", "d2hpc3BlcmVk", tag(77), token(78), me["peer"]):
        assert secret not in told
