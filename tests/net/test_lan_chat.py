"""The promises of the LAN, with real programs on hosts of their own: no default route, pulled cables, kill -9."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from sandpiper.testing.netlab import Host, NetLab, available
from tests.program import Program

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))

BURST = 1000


class Crowd:
    """Programs on hosts, all ended at the end."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.stack = ExitStack()

    def start(self, nick: str, host: Host, *args: str) -> Program:
        program = Program(nick, self.home / nick, *args, start=host.popen)
        self.stack.callback(program.stop)
        return program.ready()


@pytest.fixture
def crowd(tmp_path: Path, lab: NetLab) -> Iterator[Crowd]:
    crowd = Crowd(tmp_path)
    with crowd.stack:
        yield crowd


def ids(program: Program) -> list[bytes]:
    return [message.id for message in program.history()]


def keeps(program: Program, texts: int) -> None:
    program.wait(lambda me: len(me.history()) >= texts, 60, f"a history of {texts}")


def test_hosts_without_default_route_link_with_all_others_and_see_one_order(lab: NetLab, crowd: Crowd) -> None:
    office = lab.lan("office")
    everyone: list[Program] = []
    for nick in ("ann", "ben", "cat"):
        new = crowd.start(nick, lab.host(nick, office))
        everyone.append(new)
        for program in everyone:
            program.links({other.nick for other in everyone} - {program.nick})
        for earlier in everyone[:-1]:
            new.shows(f"{earlier.nick} is here")
        new.say(f"{nick} is here")
        for program in everyone:
            program.shows(f"{nick} is here")
    for turn in range(5):
        for speaker in everyone:
            text = f"{speaker.nick} says {turn}"
            speaker.say(text)
            for program in everyone:
                program.shows(text)
    said = ["ann is here", "ben is here", "cat is here"]
    said += [f"{speaker.nick} says {turn}" for turn in range(5) for speaker in everyone]
    for program in everyone:
        assert program.texts() == said
        assert [message.text for message in program.history()] == said


@pytest.mark.parametrize("victim", ["the one who speaks", "one who listens"])
def test_kill_9_in_the_middle_of_a_burst_loses_and_doubles_nothing(lab: NetLab, crowd: Crowd, victim: str) -> None:
    office = lab.lan("office")
    hosts = {nick: lab.host(nick, office) for nick in ("ann", "ben", "cat")}
    everyone = {nick: crowd.start(nick, host) for nick, host in hosts.items()}
    for program in everyone.values():
        program.wait(lambda me: len(me.linked()) == 2, 10, "two links")
    ann = everyone["ann"]
    burst = [f"burst {number}" for number in range(BURST)]
    typist = threading.Thread(target=_type, args=(ann, burst))
    typist.start()
    dies = ann if victim == "the one who speaks" else everyone["cat"]
    dies.wait(lambda me: len(me.texts()) >= BURST // 3, 30, "a third of the burst")
    dies.kill()
    typist.join()
    shown = dies.texts()
    everyone[dies.nick] = crowd.start(dies.nick, hosts[dies.nick])
    if dies is ann:
        # Whatever was shown as sent is kept, in order; the rest of the burst is said again.
        kept = [message.text for message in everyone["ann"].history()]
        assert kept[: len(shown)] == shown
        assert kept == burst[: len(kept)]
        everyone["ann"].say(*burst[len(kept) :])
    for program in everyone.values():
        keeps(program, BURST)
    first = ids(everyone["ann"])
    for program in everyone.values():
        assert [message.text for message in program.history()] == burst
        assert ids(program) == first


def _type(program: Program, lines: list[str]) -> None:
    with suppress(BrokenPipeError, ValueError):  # it was killed meanwhile
        program.say(*lines)


def test_a_cable_pulled_for_ten_seconds_while_both_sides_talk_loses_nothing(lab: NetLab, crowd: Crowd) -> None:
    office = lab.lan("office")
    hosts = {nick: lab.host(nick, office) for nick in ("ann", "ben")}
    ann, ben = (crowd.start(nick, host) for nick, host in hosts.items())
    for program in (ann, ben):
        program.wait(lambda me: len(me.linked()) == 1, 10, "a link")
    stop = threading.Event()
    said = {"ann": 0, "ben": 0}

    def talk(program: Program) -> None:
        while not stop.wait(0.1):
            program.say(f"{program.nick} {said[program.nick]}")
            said[program.nick] += 1

    talkers = [threading.Thread(target=talk, args=(program,)) for program in (ann, ben)]
    for talker in talkers:
        talker.start()
    for program in (ann, ben):
        program.wait(lambda me: len(me.texts()) > 20, 10, "talk before")
    with hosts["ben"].unplugged():
        before = len(ann.of("message"))
        assert not stop.wait(10)
        heard = [event for event in ann.of("message")[before:] if event["nick"] == "ben"]
        assert len(heard) < 5, "the cable was not really out"
    ann.wait(lambda me: any(e["nick"] == "ben" for e in me.of("message")[-3:]), 30, "ben again")
    stop.set()
    for talker in talkers:
        talker.join()
    for program in (ann, ben):
        keeps(program, said["ann"] + said["ben"])
    assert ids(ann) == ids(ben)
    for program in (ann, ben):
        for nick, count in said.items():
            mine = [m.text for m in program.history() if m.text.startswith(nick)]
            assert mine == [f"{nick} {number}" for number in range(count)]
            shown = [text for text in program.texts() if text.startswith(nick)]
            assert sorted(shown) == sorted(set(shown)), "a message was shown twice"


def test_an_interface_that_comes_later_is_followed(lab: NetLab, crowd: Crowd) -> None:
    office = lab.lan("office")
    lonely = lab.host("ann")
    ann = crowd.start("ann", lonely)
    ben = crowd.start("ben", lab.host("ben", office))
    ann.say("before the cable")
    lonely.attach(office)
    for program in (ann, ben):
        program.wait(lambda me: len(me.linked()) == 1, 15, "a link")
        program.wait(lambda me: "before the cable" in me.texts(), 10, "what was said before")


def test_filtered_multicast_is_no_obstacle_with_an_address(lab: NetLab, crowd: Crowd) -> None:
    office = lab.lan("office")
    office.filter_multicast(True)
    ben_host = lab.host("ben", office)
    ben = crowd.start("ben", ben_host)
    port = ben.of("ready")[0]["port"]
    ann = crowd.start("ann", lab.host("ann", office), "--peer", f"{ben_host.address()}:{port}")
    cat = crowd.start("cat", lab.host("cat", office))
    ann.wait(lambda me: "ben" in me.linked(), 10, "a link by --peer")
    assert cat.linked() == set()
    cat.say(f"/connect {ben_host.address()}:{port}")
    cat.wait(lambda me: "ben" in me.linked(), 10, "a link by /connect")
    ann.say("through ben")
    cat.wait(lambda me: "through ben" in me.texts(), 10, "a message that ben passes on")


def test_a_network_with_ipv6_alone_is_enough(lab: NetLab, crowd: Crowd) -> None:
    office = lab.lan("office")
    hosts = [lab.host(nick, office) for nick in ("ann", "ben")]
    for host in hosts:
        host.ip([f"addr del {host.address()}/24 dev {host.interface()}"], step="take its IPv4 away")
    ann, ben = (crowd.start(host.name, host) for host in hosts)
    ann.links({"ben"}, 10)
    ben.say("by fe80")
    ann.shows("by fe80")
