"""The node's thread gives way to a key: until the screen is painted, not for ever, and not all the time."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from sandpiper.faces.tui import hush
from sandpiper.faces.tui.hush import Hush

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG = 20.0


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """One that runs in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def reached(loop: asyncio.AbstractEventLoop) -> threading.Event:
    """Set once the loop has come to it."""
    there = threading.Event()
    loop.call_soon_threadsafe(there.set)
    return there


def test_a_loop_waits_from_a_key_to_the_next_paint(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hush, "HUSH_SECONDS", LONG)
    giving_way = Hush()
    giving_way.begin(loop)
    behind = reached(loop)
    assert not behind.wait(0.2)
    giving_way.end()
    assert behind.wait(LONG)


def test_a_key_that_changes_nothing_on_the_screen_holds_nothing_up(loop: asyncio.AbstractEventLoop) -> None:
    Hush().begin(loop)
    assert reached(loop).wait(LONG)


def test_a_burst_of_keys_is_one_wait(loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hush, "HUSH_SECONDS", LONG)
    busy, giving_way, asked = threading.Event(), Hush(), list[object]()
    loop.call_soon_threadsafe(busy.wait)
    ask = loop.call_soon_threadsafe

    def noting(*what: Any) -> None:
        asked.append(what)
        ask(*what)

    monkeypatch.setattr(loop, "call_soon_threadsafe", noting)
    for _ in range(1000):
        giving_way.begin(loop)
    assert len(asked) == 1
    giving_way.end()
    busy.set()
    assert reached(loop).wait(LONG)


def test_a_loop_that_has_ended_is_no_trouble() -> None:
    ended = asyncio.new_event_loop()
    ended.close()
    Hush().begin(ended)
