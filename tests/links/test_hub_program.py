"""`sandpiper connect` as a real process: old servers, bad tunnels, certificates, passwords, several hubs. 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import socket
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.links.test_hub_link import Tunnel
from tests.program import SANDPIPER, Program
from tests.served import HOST, Served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def ours(
    stack: ExitStack, home: Path, nick: str, *where: str, json_events: bool = True, env: dict[str, str] | None = None
) -> Program:
    """`sandpiper connect` in line mode; what it writes as text stands in `errors`."""
    command = (str(SANDPIPER), "--plain", "--no-input", "--nick", nick, "connect", *where, "--no-multicast")
    told = {"SANDPIPER_INTERFACES": "lo", **(env or {})}
    if json_events:
        return stack.enter_context(Program(nick, home, command=(*command, "--json"), env=told))
    return stack.enter_context(Program(nick, home, command=("sh", "-c", 'exec "$@" >&2', "sh", *command), env=told))


def shown(program: Program, *texts: str) -> None:
    """Wait until lines with these texts have been written, in line mode."""
    program.until(lambda me: all(text in "".join(me.errors) for text in texts), f"{texts}")


class FoundingServer:
    """The founding project's server, from its description alone: raw sockets, a thread a client."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self._nicks: dict[socket.socket, str] = {}
        self._lock = threading.Lock()
        self._sock = socket.create_server((HOST, 0))
        self.port = self._sock.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def __enter__(self) -> FoundingServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)  # closing alone wakes nobody who waits in `accept`
        for client in list(self._nicks):
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._sock.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._sock.accept()
            except OSError:
                return
            self._start(self._serve, client)

    def tell(self, line: dict[str, Any], but: socket.socket | None = None) -> None:
        with self._lock:
            for client in self._nicks:
                if client is not but:
                    client.sendall(json.dumps(line).encode() + b"\n")

    def _serve(self, client: socket.socket) -> None:
        with self._lock:
            self._nicks[client] = f"anon-{1000 + len(self._nicks)}"
        with client:
            with contextlib.suppress(OSError), client.makefile("rb") as lines:
                for raw in lines:
                    self._line(client, json.loads(raw))
            with self._lock:
                nick = self._nicks.pop(client)
        self.tell({"type": "notice", "text": f"{nick} left", "ts": 1735812345})

    def _line(self, client: socket.socket, line: dict[str, Any]) -> None:
        self.lines.append(line)
        match line:
            case {"type": "nick", "nick": str(nick)}:
                with self._lock:
                    taken = nick in self._nicks.values()
                    self._nicks[client] = self._nicks[client] if taken else nick
                if taken:
                    answer: dict[str, Any] = {"type": "error", "text": f"{nick} is taken, try {nick}_"}
                else:
                    answer = {"type": "nick", "text": f"nick set to {nick}", "ts": 1735812345}
                client.sendall(json.dumps(answer).encode() + b"\n")
                if not taken:
                    self.tell({"type": "notice", "text": f"{nick} joined", "ts": 1735812345}, but=client)
            case {"type": "msg", "text": str(text)}:
                self.tell({"type": "msg", "nick": self._nicks[client], "text": text, "ts": 1735812345})
            case _:
                client.sendall(json.dumps({"type": "error", "text": "unknown type"}).encode() + b"\n")


def test_our_program_chats_on_a_founding_server_as_text_and_as_json(stack: ExitStack, tmp_path: Path) -> None:
    server = stack.enter_context(FoundingServer())
    alice = ours(stack, tmp_path / "a", "alice", f"{HOST}:{server.port}").ready()
    alice.until(lambda me: any(one["code"] == "hub_up" for one in me.of("notice")), "the server")
    bob = ours(stack, tmp_path / "b", "bob", f"{HOST}:{server.port}", json_events=False)
    shown(bob, "as bob")
    alice.until(lambda me: any("bob joined" in one["text"] for one in me.of("notice")), "bob")
    bob.say("hi from bob")
    alice.shows("hi from bob")
    alice.say("hello bob", "/me waves", "/edit ^ no", "/kick bob")
    shown(bob, "hello bob", "* alice waves")
    message = alice.of("message")[0]
    assert (message["nick"], message["room"], message["mine"]) == ("bob", f"#lobby@{HOST}:{server.port}", False)
    alice.until(lambda me: len(me.of("error")) == 2, "what it cannot do")
    assert [one["mine"] for one in alice.of("message")] == [False, True, True]
    bob.stop()
    alice.until(lambda me: any("bob left" in one["text"] for one in me.of("notice")), "bob's end")
    assert {line["type"] for line in server.lines} == {"hello", "nick", "msg"}
    assert all(set(line) == {"type", "text"} for line in server.lines if line["type"] == "msg")


class Thread:
    """A `Tunnel` on a loop of its own, for tests that wait in the main thread."""

    def __init__(self, to: int, seed: int) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.tunnel = self._do(self._make(to, seed))

    async def _make(self, to: int, seed: int) -> Tunnel:
        return await Tunnel(to, random.Random(seed)).__aenter__()

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    async def _call(self, call: Any) -> None:
        call()

    def cut(self) -> None:
        self._do(self._call(self.tunnel.cut))

    def stall(self, *, stalled: bool) -> None:
        self._do(self._call(self.tunnel.open.clear if stalled else self.tunnel.open.set))

    def lead_to(self, port: int) -> None:
        self.tunnel.to = port

    def __enter__(self) -> Thread:
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self.tunnel.__aexit__())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


def test_tls_through_a_bad_tunnel_loses_and_doubles_nothing_and_another_certificate_is_refused(
    stack: ExitStack, tmp_path: Path
) -> None:
    served = stack.enter_context(Served(tmp_path / "hub", "--tls", "self-signed", "--guest-rate", "5000"))
    other = stack.enter_context(Served(tmp_path / "other", "--tls", "self-signed"))
    bad = stack.enter_context(Thread(served.port, 7))
    bad.tunnel.delay = 0.001
    where = f"tls://{HOST}:{bad.tunnel.port}#sha256:{served.pin}"
    alice = ours(stack, tmp_path / "a", "alice", where).ready()
    bob = ours(stack, tmp_path / "b", "bob", f"tls://{HOST}:{served.port}").ready()
    for one in (alice, bob):
        one.until(lambda me: any(event["code"] == "hub_up" for event in me.of("notice")), "the hub")
    for number in range(120):
        alice.say(f"a{number}")
        bob.say(f"b{number}")
        if number % 40 == 20:
            bad.stall(stalled=True)
        elif number % 40 == 30:
            bad.cut()
            bad.stall(stalled=False)
    for one in (alice, bob):
        one.until(lambda me: len(me.of("message")) >= 240, "all of it", 60)
    assert alice.texts() == bob.texts(), "one order for both"
    for letter in "ab":
        mine = [text for text in bob.texts() if text[0] == letter]
        assert mine == [f"{letter}{number}" for number in range(120)], "each once and in order"
    bad.lead_to(other.port)
    bad.cut()
    alice.until(lambda me: me.of("error"), "the refusal")
    (error,) = alice.of("error")
    assert "has another certificate than the one that is known: its SHA-256 is" in error["text"]
    assert other.pin.replace(":", "").lower() in error["text"]
    assert "somebody is in between" in error["text"] + error["hint"]
    bob.stop()
    assert all(one.read_bytes().find(b"b119") < 0 for one in (tmp_path / "other").rglob("*.db*")), "nothing was told it"


def test_a_hub_and_its_rooms_with_passwords_open_with_what_a_file_or_the_environment_says(
    stack: ExitStack, tmp_path: Path
) -> None:
    secret = tmp_path / "password"
    secret.write_text("open sesame\nnot this line\n")
    served = stack.enter_context(Served(tmp_path / "hub", "--password-file", str(secret), "--motd", "be kind"))
    where = f"{HOST}:{served.port}"
    alice = ours(stack, tmp_path / "a", "alice", where, "--password-file", str(secret)).ready()
    alice.until(lambda me: any(one["code"] == "motd" for one in me.of("notice")), "the words for who comes in")
    bob = ours(stack, tmp_path / "b", "bob", where, env={"SANDPIPER_HUB_PASSWORD": "open sesame"}).ready()
    bob.until(lambda me: any(one["code"] == "hub_up" for one in me.of("notice")), "the hub")
    bob.say("we are in")
    alice.shows("we are in")
    carol = ours(stack, tmp_path / "c", "carol", where, json_events=False)
    shown(carol, "This hub has a password", "--password-file or SANDPIPER_HUB_PASSWORD")
    dave = ours(stack, tmp_path / "d", "dave", where, env={"SANDPIPER_HUB_PASSWORD": "open barley"}).ready()
    dave.until(lambda me: any(one["code"] == "wrong_password" for one in me.of("error")), "the refusal", 30)
    assert not any(one["code"] == "hub_up" for one in dave.of("notice"))
    alice.say(f"/join #plans@{where} hunter2")
    alice.until(lambda me: any("not typed here" in one["text"] for one in me.of("error")), "the advice")
    for one in (alice, bob, carol, dave):
        one.stop()
    kept = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file() and file != secret]
    assert not any(b"sesame" in raw or b"barley" in raw for raw in kept), "no password is on any disk"


def test_status_tells_of_each_hub(stack: ExitStack, tmp_path: Path) -> None:
    one, two = (stack.enter_context(Served(tmp_path / name, "--tls", "self-signed")) for name in ("one", "two"))
    alice = ours(stack, tmp_path / "a", "alice", f"tls://{HOST}:{one.port}").ready()
    alice.say(f"/join #dev@tls://{HOST}:{two.port}")
    alice.until(lambda me: sum(event["code"] == "hub_up" for event in me.of("notice")) == 2, "both hubs")
    told = lambda: [event["text"] for event in alice.of("notice") if event["code"] == "status"]  # noqa: E731
    alice.say("/status")
    alice.until(lambda me: sum("it can read" in text for text in told()) == 2, "the status")
    text = " ".join(told())
    for served in (one, two):
        assert f"tls://{HOST}:{served.port}: connected as alice" in text
        assert f"sha256:{served.pin.replace(':', '').lower()}" in text
    assert f"#dev@{HOST}:{two.port}" in text


def test_a_hub_that_lost_its_key_is_talked_to_again_when_the_new_one_is_named(stack: ExitStack, tmp_path: Path) -> None:
    known = re.compile(r"remember this hub by (key:[0-9a-f]{64})")
    home = tmp_path / "hub"
    with Served(home) as before:
        alice = ours(stack, tmp_path / "a", "alice", f"{HOST}:{before.port}").ready()
        alice.until(lambda me: any(event["code"] == "hub_up" for event in me.of("notice")), "the hub")
        old = known.search(before.told())
    [identity] = home.rglob("identity")
    identity.unlink()
    with Served(home, "--port", str(before.port)) as after:
        after.until(lambda me: known.search(me.told()), "its key")
        new = known.search(after.told())
        assert old is not None
        assert new is not None
        assert old[1] != new[1]
        told = lambda: [event for event in alice.of("error") if "Another hub answers" in event["text"]]  # noqa: E731
        alice.until(lambda _: told(), "the warning")
        assert f"#{new[1]}" in f"{told()[0]}"
        alice.say(f"/connect hub://{HOST}:{before.port}#{old[1]}")
        alice.until(lambda _: len(told()) == 2, "the warning again")
        alice.say(f"/connect hub://{HOST}:{before.port}#{new[1]}")
        alice.until(lambda me: sum(event["code"] == "hub_up" for event in me.of("notice")) == 2, "the hub again")
