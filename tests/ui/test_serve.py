"""`sandpiper serve` as a real process: one port for everything, settings, signals, and how it ends. On 127.0.0.1."""

import contextlib
import json
import os
import signal
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandpiper.crypto.identity import Identity
from sandpiper.hub.http import METRICS
from tests.served import HOST, WAIT, Served, trusting

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")

Line = dict[str, Any]


class Guest:
    """A raw socket, or TLS over one."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.file = sock.makefile("rb")

    def send(self, *lines: Line) -> None:
        self.sock.sendall(b"".join(json.dumps(line).encode() + b"\n" for line in lines))

    def wake(self) -> "Guest":
        """A blank line, so that the hub need not wait to see whether this is a guest that only listens."""
        self.sock.sendall(b"\n")
        return self

    def line(self) -> Line:
        raw = self.file.readline()
        assert raw.endswith(b"\n"), "the hub has closed"
        line = json.loads(raw)
        assert isinstance(line, dict)
        return line

    def next(self, kind: str) -> Line:
        while (line := self.line())["type"] != kind:
            pass
        return line

    def rest(self) -> list[Line]:
        return [json.loads(raw) for raw in self.file.read().splitlines()]

    def nick(self, nick: str) -> None:
        self.send({"type": "nick", "nick": nick})
        assert self.next("nick")["text"] == f"nick set to {nick}"


Serve = Callable[..., Served]
Connect = Callable[..., Guest]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with contextlib.ExitStack() as stack:
        yield lambda *args, **more: stack.enter_context(Served(tmp_path / "home", *args, **more))


@pytest.fixture
def connect() -> Iterator[Connect]:
    with contextlib.ExitStack() as stack:

        def go(hub: Served, *, tls: bool = False) -> Guest:
            sock = stack.enter_context(socket.create_connection((HOST, hub.port), timeout=WAIT))
            if tls:
                sock = stack.enter_context(trusting().wrap_socket(sock))
            guest = Guest(sock)
            stack.callback(guest.file.close)
            return guest

        yield go


LOOPS = pytest.mark.parametrize("loop", ["--no-uvloop", ""], ids=["asyncio", "uvloop"])


# ---------------------------------------------------------------- one port


@LOOPS
def test_guests_with_and_without_tls_meet_on_one_port(serve: Serve, connect: Connect, loop: str):
    hub = serve("--tls", "self-signed", "--no-history", *filter(None, [loop]))
    alice, bob = connect(hub), connect(hub, tls=True)
    alice.nick("alice")
    bob.nick("bob")
    bob.send({"type": "msg", "text": "over TLS " + "x" * 15_000})
    for guest in (alice, bob):
        assert guest.next("msg")["text"].startswith("over TLS")
    alice.send({"type": "msg", "text": "in the clear"})
    assert bob.next("msg")["text"] == "in the clear"
    assert isinstance(bob.sock, ssl.SSLSocket)
    shown = bob.sock.getpeercert(binary_form=True)
    assert shown is not None
    import hashlib

    assert hashlib.sha256(shown).digest().hex(":").upper() == hub.pin
    assert (hub.process.poll(), hub.metric("guests"), hub.metric("messages_total")) == (None, 2, 2)


@LOOPS
def test_lines_piped_in_over_tls_are_said_also_when_the_end_comes_at_once(serve: Serve, connect: Connect, loop: str):
    hub = serve("--tls", "self-signed", "--no-history", *filter(None, [loop]))
    alice = connect(hub)
    alice.nick("alice")
    for number in range(5):
        pipe = connect(hub, tls=True)
        pipe.send({"type": "msg", "text": f"{number}"})
        assert isinstance(pipe.sock, ssl.SSLSocket)
        with contextlib.suppress(OSError):
            pipe.sock.unwrap()
        assert alice.next("msg")["text"] == f"{number}"
    assert "returning true" not in hub.told()


@LOOPS
def test_a_tls_greeting_in_pieces_is_put_together(serve: Serve, connect: Connect, loop: str):
    hub = serve("--tls", "self-signed", "--no-history", *filter(None, [loop]))
    for _ in range(5):
        raw = connect(hub)
        raw.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        heard, to_say = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = trusting().wrap_bio(heard, to_say)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                said = to_say.read()
                for piece in (said[:1], said[1:7], said[7:100], said[100:]):
                    raw.sock.sendall(piece)
                heard.write(raw.sock.recv(65_536))
        tls.write(b'{"type":"ping","n":7}\n')
        raw.sock.sendall(to_say.read())
        while True:
            try:
                assert json.loads(tls.read()) == {"type": "pong", "n": 7}
                break
            except ssl.SSLWantReadError:
                heard.write(raw.sock.recv(65_536))


@LOOPS
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_health_and_metrics_are_on_the_same_port(serve: Serve, scheme: str, loop: str):
    hub = serve("--tls", "self-signed", "--no-history", *filter(None, [loop]))
    status, kind, body = hub.get("/healthz", scheme)
    assert (status, kind, json.loads(body)["status"]) == (200, "application/json", "ok")
    status, kind, body = hub.get("/metrics", scheme)
    assert (status, kind) == (200, METRICS)
    assert "\nsandpiper_hub_guests 0\n" in body
    assert hub.get("/", scheme)[0] == 404


def test_what_is_said_and_refused_is_counted(serve: Serve, connect: Connect):
    hub = serve("--no-history")
    alice, bob, carol = connect(hub), connect(hub), connect(hub)
    for nick, guest in (("alice", alice), ("bob", bob), ("carol", carol)):
        guest.nick(nick)
    for number in range(10):
        alice.send({"type": "msg", "text": f"{number}"})
    for guest in (alice, bob, carol):
        while guest.next("msg")["text"] != "9":
            pass
    before = hub.metric("deliveries_total")
    assert before >= 30
    for _ in range(20):
        carol.sock.sendall(b"no line\n")
    assert carol.rest()[-1]["code"] == "too_many_errors"
    told = hub.get("/metrics")[2]
    assert 'sandpiper_hub_cuts_total{why="too_many_errors"} 1\n' in told
    assert 'sandpiper_hub_errors_total{code="not_json"} 19\n' in told
    assert hub.metric("strikes_total") == 20
    assert hub.metric("deliveries_total") > before
    assert hub.metric("written_bytes_total") > hub.metric("read_bytes_total") > 20 * len(b"no line\n")
    assert hub.metric("held_bytes") == 0


def test_metrics_can_be_switched_off(serve: Serve):
    assert serve("--metrics", "off", "--no-history").get("/metrics")[0] == 404


def test_whoever_only_listens_hears_what_is_said(serve: Serve, connect: Connect):
    hub = serve("--no-history", "--motd", "be kind")
    quiet, alice = connect(hub), connect(hub)
    assert quiet.line()["text"] == "be kind"
    alice.nick("alice")
    alice.send({"type": "msg", "text": "hi"})
    assert quiet.next("msg")["text"] == "hi"


def test_a_native_link_is_refused_with_a_line(serve: Serve, connect: Connect):
    peer = connect(serve("--no-history"))
    peer.sock.sendall(b"SANDPIPER/1\n")
    assert [line["code"] for line in peer.rest()] == ["not_served"]


def test_tls_where_there_is_none_is_refused_as_tls_programs_understand(serve: Serve, connect: Connect):
    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        connect(serve("--no-history"), tls=True)


def test_with_tls_only_nothing_is_said_in_the_clear(serve: Serve, connect: Connect):
    hub = serve("--tls", "self-signed", "--tls-only", "--no-history")
    plain = connect(hub)
    plain.send({"type": "nick", "nick": "eve"})
    assert [line["code"] for line in plain.rest()] == ["tls_only"]
    connect(hub, tls=True).nick("alice")


def test_guests_must_know_the_password_of_the_hub(serve: Serve, connect: Connect, tmp_path: Path):
    file = tmp_path / "password"
    file.write_text("swan lake\n")
    hub = serve("--password-file", str(file), "--no-history")
    alice, eve = connect(hub), connect(hub)
    alice.send({"type": "password", "password": "swan lake"}, {"type": "nick", "nick": "alice"})
    assert alice.next("nick")["text"] == "nick set to alice"
    eve.send({"type": "nick", "nick": "eve"}, *({"type": "password", "password": "goose"} for _ in range(2)))
    assert [line["code"] for line in eve.rest()] == ["locked", "wrong_password", "wrong_password"]
    alice.send({"type": "msg", "text": "alone"})
    assert alice.line()["text"] == "alone", "nobody has come or gone"
    assert "swan" not in hub.told()


# ---------------------------------------------------------------- the end


@LOOPS
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_says_goodbye_after_everything_else(
    serve: Serve, connect: Connect, number: signal.Signals, code: int, loop: str
):
    hub = serve("--tls", "self-signed", *filter(None, [loop]))
    alice, bob = connect(hub), connect(hub, tls=True)
    alice.nick("alice")
    bob.nick("bob")
    alice.send(*({"type": "msg", "text": f"{n}"} for n in range(100)))
    alice.next("msg")
    hub.process.send_signal(number)
    lines = bob.rest()
    assert [line["text"] for line in lines if line["type"] == "msg"] == [f"{n}" for n in range(100)]
    assert (lines[-1]["type"], lines[-1]["code"]) == ("notice", "closing")
    assert hub.ended() == code
    again = serve()
    carol = connect(again)
    carol.send({"type": "history", "limit": 100})
    assert [line["text"] for line in carol.next("history")["messages"]] == [f"{n}" for n in range(100)]


def test_a_second_signal_does_not_wait_for_guests(serve: Serve, connect: Connect):
    hub = serve("--no-history")
    deaf = connect(hub)
    deaf.nick("deaf")
    hub.process.send_signal(signal.SIGTERM)
    hub.tells("the hub closes")
    hub.process.send_signal(signal.SIGTERM)
    assert hub.ended(2) in (-signal.SIGTERM, 0)


# ---------------------------------------------------------------- settings


def test_sighup_takes_over_what_it_can_and_names_the_rest(serve: Serve, connect: Connect, tmp_path: Path):
    key = Identity(bytes(32)).key.hex()
    file = tmp_path / "hub.toml"
    file.write_text('motd = "old"\ntls = "self-signed"\nno_history = true\n')
    hub = serve("--config", str(file))
    old = hub.pin
    guest = connect(hub)
    assert guest.wake().line()["text"] == "old"
    kept = tmp_path / "home" / "hub" / "tls.pem"
    kept.unlink()
    file.write_text(
        f'motd = "new"\ntls = "self-signed"\nno_history = true\noperators = ["{key}"]\nguest_rate = 0.1\n'
        'guest_burst = 20\nname = "x"\nconections = 1\n'
    )
    hub.process.send_signal(signal.SIGHUP)
    hub.tells("only a restart changes: name")
    assert "changed: motd, operators, guest_rate, guest_burst\n" in hub.told()
    assert guest.line()["text"] == "new", "those who are there are told"
    guest.send(*[{"type": "msg", "text": "x"}] * 21)
    for _ in range(20):
        guest.next("msg")
    assert hub.metric("messages_total") == 20, "the rest has to wait"
    assert "'conections' is not a setting of a hub and is ignored. Did you mean connections?" in hub.told()
    assert connect(hub).wake().line()["text"] == "new"
    shown = ssl.get_server_certificate((HOST, hub.port))
    assert shown in kept.read_text()
    assert old not in hub.lines[-2]
    file.write_text("port = ")
    hub.process.send_signal(signal.SIGHUP)
    hub.tells("settings stay as they were")
    assert (hub.get("/healthz")[0], hub.metric("reloads_total")) == (200, 1)


def test_the_flag_wins_over_the_environment_and_that_over_the_file(serve: Serve, connect: Connect, tmp_path: Path):
    file = tmp_path / "hub.toml"
    file.write_text('motd = "file"\nno_history = true\n')
    assert connect(serve("--config", str(file))).wake().line()["text"] == "file"
    env = {"SANDPIPER_HUB_MOTD": "environment"}
    assert connect(serve("--config", str(file), env=env)).wake().line()["text"] == "environment"
    assert connect(serve("--config", str(file), "--motd", "flag", env=env)).wake().line()["text"] == "flag"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--second-port", "5001", "--port", "5001"], "The second port is the first one."),
        (["--guest-rate", "fast"], "--guest-rate: guest_rate cannot be 'fast': it is not a number."),
        (["--operator", "me"], "a public key: 64 hexadecimal digits"),
        (["--config", "nowhere.toml"], "There is no file nowhere.toml."),
        (["--tls-cert", "c.pem"], "A certificate needs its key"),
        (["--tls-cert", "c.pem", "--tls-key", "k.pem"], "Cannot read c.pem: No such file or directory."),
        (["--password-file", "/"], "Cannot read the password file /: Is a directory."),
        (["--tls-only"], "tls_only needs a certificate."),
        (["--no-history", "--durable"], "no_history goes neither with history nor with durable."),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_mistakes_are_named_and_end_with_2(serve: Serve, args: list[str], words: str):
    hub = serve(*args)
    hub.tells(words)
    assert hub.ended() == 2
    assert "Traceback" not in hub.told()


def test_a_bad_settings_file_is_named_with_its_line(serve: Serve, tmp_path: Path):
    file = tmp_path / "hub.toml"
    file.write_text('motd = "hi"\nport = many\n')
    hub = serve("--config", str(file))
    hub.tells(f"{file}:2: this is not valid TOML")
    assert hub.ended() == 2


def test_a_port_in_use_is_named(serve: Serve):
    first = serve("--no-history")
    second = serve("--no-history", "--port", str(first.port))
    second.tells(f"Port {first.port} of {HOST} is in use by another program. Choose another one with --port.")
    assert second.ended() == 3


def test_a_request_that_does_not_end_is_not_waited_for(serve: Serve, connect: Connect):
    hub = serve("--no-history")
    slow = connect(hub)
    slow.sock.sendall(b"GET / HTTP/1.1\r\n")
    assert slow.rest() == []
    assert 'sandpiper_hub_turned_away_total{why="slow"} 1\n' in hub.get("/metrics")[2]


def test_a_history_that_cannot_be_written_is_no_good_health(serve: Serve, connect: Connect):
    hub = serve("--guest-rate", "1e6", most_kib=200)
    alice = connect(hub)
    alice.nick("alice")
    for number in range(200):
        alice.send({"type": "msg", "text": os.urandom(4000).hex()})
        alice.next("msg")
        if number % 20 == 0 and hub.get("/healthz")[0] != 200:
            break
    hub.until(lambda me: me.get("/healthz")[0] == 503, "503")
    assert json.loads(hub.get("/healthz")[2])["status"] == "failing"
    assert hub.metric("history_failing") == 1
    alice.send({"type": "msg", "text": "the chat goes on"})
    assert alice.next("msg")["text"] == "the chat goes on"


def test_two_hubs_do_not_share_a_history(serve: Serve):
    first = serve()
    assert first.get("/healthz")[0] == 200
    second = serve()
    second.tells("Another hub uses the history")
    assert second.ended() == 1


def test_the_log_has_no_text_no_nick_and_no_address(serve: Serve, connect: Connect, tmp_path: Path):
    hub = serve("--debug", "--no-history")
    alice = connect(hub)
    alice.nick("marigold")
    alice.send({"type": "msg", "text": "periwinkle"})
    alice.next("msg")
    for _ in range(20):
        alice.sock.sendall(b"hydrangea\n")
    assert alice.rest()[-1]["code"] == "too_many_errors"
    hub.process.terminate()
    assert hub.ended() == 0
    logged = (tmp_path / "home" / "log" / "hub" / "sandpiper.log").read_text()
    assert "too_many_errors" in logged
    for word in ("marigold", "periwinkle", "hydrangea"):
        assert word not in logged
        assert word not in hub.told()
    assert str(alice.sock.getsockname()[1]) not in logged
