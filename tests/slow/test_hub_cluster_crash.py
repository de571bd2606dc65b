"""A cluster under load loses hubs and its NATS server: what was confirmed is there, once, and in one order."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.natsd import Natsd
from tests.roamer import Roamer, has
from tests.served import Served

if TYPE_CHECKING:
    from pathlib import Path

FAST = ("--guest-rate", "1e9", "--guest-burst", "1e9", "--room-rate", "1e9", "--room-burst", "1e9", "--no-uvloop")
GUESTS = 6
MESSAGES = 600  # of each
WINDOW = 8  # of one guest on their way
PAUSE = 0.005  # between two of one guest: what is missed while one moves must fit a room's tail
LONG = 60.0

pytestmark = pytest.mark.timeout(240)


async def talk(guest: Roamer) -> None:
    for n in range(MESSAGES):
        await guest.until(lambda: len(guest.open) < WINDOW, "confirmation", LONG)
        guest.say(f"{guest.nick} {n}")
        await asyncio.sleep(PAUSE)
    await guest.until(lambda: not guest.open, "all confirmed", LONG)


def _confirmed(guest: Roamer, count: float) -> bool:
    return len(guest.acked) >= count


async def confirmed(guests: list[Roamer], part: float) -> None:
    """Until so much of all was confirmed."""
    for guest in guests:
        await guest.until(partial(_confirmed, guest, MESSAGES * part), f"{part:.0%} confirmed", LONG)


async def test_killed_hubs_and_a_killed_nats_server_cost_no_confirmed_message(tmp_path: Path) -> None:
    def start(number: int) -> Served:
        home = tmp_path / f"hub{number}"
        home.mkdir(exist_ok=True)
        return Served(home, "--bus", natsd.url, *FAST, env={"SANDPIPER_INTERFACES": "lo"})

    async with contextlib.AsyncExitStack() as stack:
        natsd = stack.enter_context(Natsd(tmp_path / "nats"))
        hubs = [stack.enter_context(start(number)) for number in range(3)]
        ports = [hub.port for hub in hubs]
        guests = [
            await stack.enter_async_context(Roamer(f"guest{n}", ports, "dev", n % len(ports))) for n in range(GUESTS)
        ]
        async with asyncio.TaskGroup() as tasks:
            for guest in guests:
                tasks.create_task(talk(guest))
            await confirmed(guests, 0.15)
            hubs[1].kill()
            await confirmed(guests, 0.35)
            natsd.kill()
            natsd.start()
            await confirmed(guests, 0.55)
            hubs[2].kill()
            await confirmed(guests, 0.7)
            natsd.kill()
            await guests[0].gets("notice", code="cluster")  # it is away long enough to be noticed
            natsd.start()
        assert sum(guest.moves for guest in guests) >= 3, "somebody has moved"
        total = GUESTS * MESSAGES
        for guest in guests:
            await guest.until(partial(has, guest, total), f"{total} lines")
        told = await guests[0].history()
        by_id = {line["client_id"]: line["seq"] for line in told}
        assert len(told) == len(by_id) == total, "each message once"
        for guest in guests:
            assert guest.acked.items() <= by_id.items(), "confirmed, and not there"
            assert guest.lines == guests[0].lines == told
            own = [line["text"] for line in told if line["nick"] == guest.nick]
            assert sorted(own, key=lambda text: int(text.split()[1])) == [f"{guest.nick} {n}" for n in range(MESSAGES)]
        # A hub that knows nothing yet says the same.
        late = stack.enter_context(start(9))
        newcomer = await stack.enter_async_context(Roamer("late", [late.port], "dev"))
        assert await newcomer.history() == told
        hubs[0].unharmed()
