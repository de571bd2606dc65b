"""Passwords of rooms over real sockets, and what the log does not tell. Everything stays on 127.0.0.1."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec

from sandpiper.hub import serving
from sandpiper.hub.limits import MAX_STRIKES
from tests.links.test_hub_chat import SETTINGS, hub

if TYPE_CHECKING:
    import pytest


def join(password: str) -> dict[str, object]:
    return {"type": "join", "room": "den", "password": password}


async def test_a_wrong_password_keeps_its_guest_waiting_and_nobody_else(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(serving, "WRONG_PASSWORD_SECONDS", 0.7)
    async with hub() as there:
        alice, bob, mallory = [await there.modern(nick) for nick in ("alice", "bob", "mallory")]
        await alice.ask(join("swan"), "joined")
        clock = asyncio.get_running_loop().time
        start = clock()
        mallory.send(join("goose"), join("duck"), {"type": "ping", "n": 1})
        await bob.ask(join("swan"), "joined")
        assert clock() - start < 0.7
        assert (await mallory.next("error"))["code"] == "wrong_password"
        assert clock() - start >= 0.7
        assert (await mallory.next("error"))["code"] == "wrong_password"
        assert clock() - start >= 1.4
        await mallory.next("pong")


async def test_a_password_that_cannot_be_hashed_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch):
    def broken(password: str) -> bytes:
        raise MemoryError

    async with hub() as there:
        alice, bob = await there.modern("alice"), await there.modern("bob")
        with monkeypatch.context() as patch:
            patch.setattr(serving, "make_lock", broken)
            assert (await alice.ask(join("swan"), "error"))["code"] == "busy"
        await bob.ask(join("swan"), "joined")
        await alice.ask(join("swan"), "joined")


async def test_the_log_tells_no_text_no_nick_and_no_reason(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    async with hub() as there:
        alice, bob = await there.modern("alice-nick"), await there.modern("bob-nick")
        root = next(guest for guest in there.server.house.guests.all() if guest.nick == "alice-nick")
        root.key = bytes(32)  # type: ignore[assignment]
        there.server.reload(msgspec.structs.replace(SETTINGS, operators=frozenset({root.key})))
        alice.send({"type": "kick", "nick": "bob-nick", "hub": True, "reason": "he leaked"})
        await bob.end()
        mallory = await there.program()
        mallory.send(*[{"type": "my secret words"}] * MAX_STRIKES)
        await mallory.end()
    assert "is cut: kicked" in caplog.text
    assert "is cut: too_many_errors" in caplog.text
    for word in ("alice-nick", "bob-nick", "leaked", "secret words"):
        assert word not in caplog.text
