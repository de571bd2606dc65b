"""Many peers, and much history: thirty programs on one machine, and a late joiner with ten thousand messages to get."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sandpiper.testing.netlab import NetLab, available
from tests.program import Program

pytestmark = [pytest.mark.skipif(available() is not None, reason=str(available())), pytest.mark.timeout(600)]

PEERS = 30
HISTORY = 10_000


@pytest.fixture
def lab() -> Iterator[NetLab]:
    with NetLab() as lab:
        yield lab


def test_thirty_peers_on_one_machine_all_link_and_keep_thirty_identical_histories(lab: NetLab, tmp_path: Path) -> None:
    machine = lab.host("machine", lab.lan("office"))
    with ExitStack() as stack:
        everyone = [
            stack.enter_context(Program(f"peer{number:02}", tmp_path / f"{number:02}", start=machine.popen))
            for number in range(PEERS)
        ]
        for program in everyone:
            program.ready(120)
        for program in everyone:
            program.wait(lambda me: len(me.linked()) == PEERS - 1, 120, f"{PEERS - 1} links")
        assert sum(len(program.linked()) for program in everyone) // 2 == 435
        for program in everyone:
            program.say(f"{program.nick} says hello")
        for program in everyone:
            program.wait(lambda me: len(me.texts()) >= PEERS, 120, f"{PEERS} messages")
        histories = [[message.id for message in program.history()] for program in everyone]
        assert len(histories[0]) == PEERS
        assert all(history == histories[0] for history in histories)
        for program in everyone:
            assert sorted(program.texts()) == sorted(f"{other.nick} says hello" for other in everyone)


def test_a_late_joiner_has_the_newest_screenful_at_once_and_all_older_after(lab: NetLab, tmp_path: Path) -> None:
    office = lab.lan("office")
    with ExitStack() as stack:
        ann = stack.enter_context(Program("ann", tmp_path / "ann", start=lab.host("ann", office).popen)).ready()
        said = [f"message {number}" for number in range(HISTORY)]
        ann.say(*said)
        ann.wait(lambda me: len(me.texts()) == HISTORY, 120, "all said")
        ben = stack.enter_context(Program("ben", tmp_path / "ben", start=lab.host("ben", office).popen))
        ben.wait(lambda me: len(me.texts()) == HISTORY, 120, "all of it")
        shown = ben.texts()
        # First the newest, then everything that came before it, each once.
        assert shown[:50] == [text for text in said[-100:] if text in set(shown[:50])]
        assert set(shown[:100]) <= set(said[-100:])
        assert sorted(shown) == sorted(said)
        newest = next(event["at"] for event in ben.of("message") if event["text"] == said[-1])
        assert newest <= ben.of("message")[100]["at"], "the newest came after older ones"
        assert [message.text for message in ben.history()] == said
