"""A small world for people to meet in: a public network with a relay, and places behind all kinds of routers.

What is expected of each pair of places is said here, in `expected`, and nowhere else.
"""

from __future__ import annotations

import re
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from typing_extensions import override

from sandpiper.testing.netlab import CONE, REFUSING, SYMMETRIC, UDP_BLOCKED, WEB_ONLY, Host, NatRules, NetLab, Router
from tests.process import Process
from tests.program import SANDPIPER, Program

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

Place = Literal["open", "cone", "symmetric", "UDP blocked", "refusing", "web only", "double NAT"]
"""Where a person can be: on the public network itself, or behind a router of that kind. `web only` lets out TCP to
ports 80 and 443, `refusing` answers RST, `double NAT` is a router at home behind that of a carrier."""
Shared = Literal["same LAN", "LAN without multicast", "two LANs of one router", "one carrier"]
"""Where two people can be behind one router; that of `one carrier` has other routers behind it."""
Path_ = Literal["lan", "direct", "relay"]

PLACES: tuple[Place, ...] = get_args(Place)
SHARED: tuple[Shared, ...] = get_args(Shared)
PAIRS = [(one, other) for at, one in enumerate(PLACES) for other in PLACES[at:]]

# Of each cable to the public network. A way over it has two: 40 ms, and 1 % is lost.
DELAY_MS, LOSS = 20.0, 0.005
RELAY_PORT, WEB_PORT = 8000, 443
HOMES = "192.168.1.0/24"  # in every home, so that private addresses of others are one's own, too

_RULES: dict[Place, NatRules] = {
    "cone": CONE,
    "symmetric": SYMMETRIC,
    "UDP blocked": UDP_BLOCKED,
    "refusing": REFUSING,
    "web only": WEB_ONLY,
    "double NAT": CONE,
}
_PUNCHABLE = frozenset[Place](("open", "cone", "UDP blocked", "refusing", "double NAT"))
_IN_ONE_PLACE: dict[Shared, Path_] = {
    "same LAN": "lan",
    "LAN without multicast": "lan",
    "two LANs of one router": "direct",
    "one carrier": "relay",  # it does not send back inside what goes to its own address (no hairpin)
}


def expected(one: Place | Shared, other: Place | None = None) -> Path_:
    """The path that two people end up with, at two places or in one."""
    if other is None:
        return _IN_ONE_PLACE[one]  # type: ignore[index]
    both = {one, other}
    return "direct" if both <= _PUNCHABLE or both == {"open", "symmetric"} else "relay"


def expected_why(one: Place | Shared, other: Place | None = None) -> str:
    """A pattern of the reason that is given for a relay, once no better way has been found."""
    if one == "one carrier":  # the other's private address is one's own, and there nobody listens
        return "no direct connection came through|refuses what comes from outside"
    return "another port" if "symmetric" in (one, other) else "no direct connection came through"


class Relay(Process[str]):
    """`sandpiper relay` on a host of the lab: on one port in the open, and on the web's also in TLS."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.lines: list[str] = []
        ports = ("--port", str(RELAY_PORT), "--second-port", str(WEB_PORT))
        command = (str(SANDPIPER), "relay", *ports, "--tls", "self-signed")
        super().__init__(host.popen(command, stderr=subprocess.PIPE))
        self.follow(self._read)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()

    @override
    def told(self) -> str:
        return "".join(self.lines[-30:])

    def address(self, place: Place | Shared) -> str:
        """How people there name it."""
        pin = re.compile(r"to pin: ((?:[0-9A-F]{2}:){31}[0-9A-F]{2})")
        self.until(lambda me: pin.search("".join(me.lines)), "its fingerprint")
        if place != "web only":
            return f"{self.host.address()}:{RELAY_PORT}"
        found = pin.search("".join(self.lines))
        assert found is not None
        return f"tls://{self.host.address()}#sha256:{found[1]}"

    def unharmed(self) -> None:
        """It runs, and nothing has gone wrong inside it."""
        assert self.process.poll() is None, self.told()
        told = "".join(self.lines)
        assert "Traceback" not in told, told[-3000:]
        assert "ERROR" not in told, told[-3000:]


class Person(Program):
    """`sandpiper`, by somebody on a host of the lab."""

    def __init__(self, nick: str, home: Path, host: Host, *words: str, relay: str = "") -> None:
        """`words` are a command and its options."""
        usual = ("--plain", "--json", "--no-input", "--nick", nick, *(("--relay", relay) if relay else ()))
        super().__init__(nick, home, start=host.popen, command=(str(SANDPIPER), *words, *usual))
        self.host = host

    @property
    def code(self) -> str:
        """The code that it was told."""
        self.wait(lambda me: any(room.get("code") for room in me.of("room")), 30, "a code")
        return next(str(room["code"]) for room in self.of("room") if room.get("code"))

    def paths(self, nick: str) -> list[tuple[str, float]]:
        """All changes of the way to somebody: its name, or nothing when the link was lost, and when (monotonic)."""
        ways: list[tuple[str, float]] = []
        for event in self.of("peer"):
            path = event["path"] if event["state"] == "linked" else ""
            if event["nick"] == nick and (not ways or ways[-1][0] != path):
                ways.append((path, event["at"]))
        return ways

    def path(self, nick: str) -> str:
        """The way to somebody now; nothing: there is none."""
        return (self.paths(nick) or [("", 0.0)])[-1][0]

    def why(self, nick: str) -> str:
        """Why somebody is reached so, or was last."""
        return next((str(event["why"]) for event in reversed(self.of("peer")) if event["nick"] == nick), "")

    def meets(self, nick: str, path: str, seconds: float = 30) -> None:
        """Wait until somebody is linked over this path."""
        self.wait(lambda _: self.path(nick) == path, seconds, f"{nick} over {path}")

    def gives_reason(self, nick: str, why: str, seconds: float = 30) -> None:
        """Wait until this pattern is in the reason why somebody is reached so."""
        self.wait(lambda _: re.search(why, self.why(nick)), seconds, f"{why!r} of {nick}")

    def said_at(self, text: str) -> float:
        """When a message with this text came (monotonic)."""
        return next(float(event["at"]) for event in self.of("message") if event["text"] == text)


class Site(NamedTuple):
    """A host at some place, and the router that leads it out."""

    host: Host
    router: Router | None


class World:
    """Places are made when somebody is there for the first time, and stay."""

    def __init__(self, home: Path) -> None:
        """Use it as a context manager. `home` is a folder for the people's homes."""
        self.home = home
        self.lab = NetLab()
        self._sites: dict[tuple[Place, int], Site] = {}
        self.people = 0
        """How many there have been."""
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as undoing:
            undoing.enter_context(self.lab)
            self.internet = self.lab.internet()
            host = self.lab.host("relay", self.internet)
            self._spoil(host)
            self.relay = undoing.enter_context(Relay(host))
            self._stack = undoing.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _spoil(self, host: Host) -> None:
        self.internet.link_quality(host, delay_ms=DELAY_MS, loss=LOSS)

    def home_lan(self, name: str, rules: NatRules = CONE, subnet: str = HOMES) -> Router:
        """A router on the public network, and behind it a LAN (`router.lans[1]`)."""
        lan = self.lab.lan(f"{name}-lan", subnet=subnet, ipv6=False)
        router = self.lab.router(f"{name}-router", self.internet, lan, rules=rules)
        self._spoil(router)
        return router

    def site(self, place: Place, number: int = 1) -> Site:
        """The host at a place; there are as many such places as anybody asks for, by number."""
        if (place, number) not in self._sites:
            self._sites[place, number] = self._build(place, f"{place.lower().replace(' ', '-')}-{number}")
        return self._sites[place, number]

    def _build(self, place: Place, name: str) -> Site:
        if place == "open":
            host = self.lab.host(name, self.internet)
            self._spoil(host)
            return Site(host, None)
        if place == "double NAT":
            carrier = self.home_lan(f"{name}-carrier", subnet="100.64.0.0/24").lans[1]
            lan = self.lab.lan(f"{name}-lan", subnet=HOMES, ipv6=False)
            router = self.lab.router(f"{name}-router", carrier, lan)
            return Site(self.lab.host(name, lan), router)
        router = self.home_lan(name, _RULES[place])
        return Site(self.lab.host(name, router.lans[1]), router)

    def together(self, place: Shared) -> tuple[Host, Host]:
        """Two hosts in one such place, made anew."""
        name = place.lower().replace(" ", "-")
        if place == "one carrier":
            carrier = self.home_lan(name, subnet="100.64.0.0/24").lans[1]
            lans = [self.lab.lan(f"{name}-{number}-lan", subnet=HOMES, ipv6=False) for number in (1, 2)]
            for number, lan in enumerate(lans, 1):
                self.lab.router(f"{name}-{number}-router", carrier, lan)
        else:
            router = self.home_lan(name)
            lans = [router.lans[1]] * 2
            if place == "two LANs of one router":
                lans[1] = self.lab.lan(f"{name}-second", subnet="192.168.2.0/24", ipv6=False)
                router.serve(lans[1])
            if place == "LAN without multicast":
                lans[0].filter_multicast(True)
        return self.lab.host(f"{name}-1", lans[0]), self.lab.host(f"{name}-2", lans[1])

    def person(self, nick: str, host: Host, place: Place | Shared, *words: str) -> Person:
        """Somebody with a home of their own, who knows the relay."""
        self.people += 1
        return Person(nick, self.home / f"{nick}-{self.people}", host, *words, relay=self.relay.address(place))
