"""What the probes gather and the judges read: frozen facts, with a healthy machine as the default of each."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from sandpiper.config import Address, Settings
from sandpiper.wire.meeting import NatKind

System = Literal["linux", "macos", "windows", "other"]


class Card(Struct, frozen=True, kw_only=True):
    """One network interface. None: this system does not tell."""

    name: str
    addresses: tuple[str, ...] = ()
    up: bool | None = True
    running: bool | None = True  # has a carrier
    multicast: bool | None = True
    loopback: bool = False
    tunnel: bool = False
    used: bool = True  # not left out by the setting `interfaces`

    @property
    def lan(self) -> bool:
        """Whether others may be met there: it is up, has a carrier and an address, and is neither loopback nor VPN."""
        live = self.up is not False and self.running is not False
        return bool(self.addresses) and live and not self.loopback and not self.tunnel


class Cards(Struct, frozen=True, kw_only=True):
    """All interfaces. `default` are those that the way out of the LAN takes, `missing` are in the settings only."""

    cards: tuple[Card, ...] = ()
    default: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def of(self, name: str) -> Card | None:
        """The interface of that name."""
        return next((card for card in self.cards if card.name == name), None)


class Trouble(Struct, frozen=True):
    """Why the system refused: its number for it (0: unknown) and its words."""

    errno: int
    text: str


class Voice(Struct, frozen=True, kw_only=True):
    """One address that was to send a beacon, and whether another socket of this machine heard it."""

    name: str
    address: str
    v6: bool = False
    loopback: bool = False
    heard: bool = True
    trouble: Trouble | None = None


class HeardPeer(Struct, frozen=True, kw_only=True):
    """Somebody whose beacons were heard.

    `here`: on this machine. `native`: not of the old program. `answered`: a pong came. `skew`: how many seconds its
    clock is ahead of ours, None when it does not say.
    """

    nick: str
    key: str = ""
    places: tuple[Address, ...] = ()
    here: bool = False
    answered: bool = True
    skew: float | None = 0.0

    @property
    def native(self) -> bool:
        """Whether it speaks our own protocol."""
        return bool(self.key)


class Strange(Struct, frozen=True):
    """Datagrams on the group that are no beacons: from whom, and why they were refused."""

    host: str
    reason: str
    version: bool = False  # a beacon, but of another version of sandpiper


class Air(Struct, frozen=True, kw_only=True):
    """What came of asking and listening on the multicast group."""

    voices: tuple[Voice, ...] = ()
    peers: tuple[HeardPeer, ...] = ()
    strange: tuple[Strange, ...] = ()
    listened: float = 0.0

    @property
    def elsewhere(self) -> tuple[HeardPeer, ...]:
        """Peers on other machines."""
        return tuple(peer for peer in self.peers if not peer.here)


# ok: it proved to be who its beacon says · timeout, refused, unreachable, error: no connection · silent: connects, then
# nothing · stranger: connects, and is another peer or program than its beacon says
Outcome = Literal["ok", "timeout", "refused", "unreachable", "error", "silent", "stranger"]


class Reach(Struct, frozen=True, kw_only=True):
    """A dialled address. `given`: from `--peer` or the settings. `heard`: its beacons were heard, too."""

    nick: str
    place: Address
    outcome: Outcome = "ok"
    text: str = ""
    ms: float = 0.0
    here: bool = False
    given: bool = False
    heard: bool = True


class Holder(Struct, frozen=True, kw_only=True):
    """Who listens on a port, as far as it can be told; `pid` 0: it cannot."""

    port: int
    pid: int = 0
    program: str = ""
    nick: str = ""  # a peer on this machine that says so in its beacons


class Ports(Struct, frozen=True, kw_only=True):
    """The TCP port to listen on. `wanted` 0: any of the range. `free`: the first free one, None when there is none."""

    wanted: int = 0
    free: int | None = 8080
    taken: tuple[Holder, ...] = ()
    forbidden: str = ""  # why the system does not let us have the wanted one


Verdict = Literal["accept", "drop", "unknown"]
FirewallTool = Literal["", "ufw", "firewalld", "nftables", "iptables", "macos", "windows"]


class Firewall(Struct, frozen=True, kw_only=True):
    """What can be told of this machine's firewall. `tool`: what manages it, empty when none was found.

    `place` is the nftables chain that drops, as "family table chain". The verdicts are on beacons and on dials that
    come in.
    """

    tool: FirewallTool = ""
    on: bool | None = False
    udp: Verdict = "unknown"
    tcp: Verdict = "unknown"
    place: str = ""


HistoryState = Literal["none", "ok", "damaged", "unreadable", "foreign", "newer", "unfinished"]


class Profile(Struct, frozen=True, kw_only=True):
    """One profile's directory. Modes are None where they do not exist; `pid` of who holds the lock, 0: unknown."""

    name: str
    path: str
    mode: int | None = 0o700
    foreign: bool = False  # belongs to another user
    loose: tuple[tuple[str, int], ...] = ()  # files that others can read, and their mode
    history: HistoryState = "ok"
    history_text: str = ""
    version: int = 0
    bytes: int = 0
    running: bool = False
    pid: int = 0
    aside: tuple[str, ...] = ()  # damaged files that were kept


class Folder(Struct, frozen=True, kw_only=True):
    """The data directory. `refused`: why a file could not be written into it (`full`: because the disk is full)."""

    path: str = "/home/me/.local/share/sandpiper"
    exists: bool = True
    mode: int | None = 0o700
    profiles_mode: int | None = 0o700  # of the directory that holds the profiles
    foreign: bool = False
    refused: Trouble | None = None
    full: bool = False
    free: int | None = 10**10
    profiles: tuple[Profile, ...] = ()
    unread: str = ""  # why the profiles cannot be listed


class Terminal(Struct, frozen=True, kw_only=True):
    """Where the output goes."""

    encoding: str = "utf-8"
    tty: bool = True
    columns: int = 80
    term: str = "xterm-256color"
    colours: str = "256"
    why_plain: str = ""  # why there are no colours


# ok: it answers as a rendezvous does · address: what is configured is none · name: it is not found · unreachable: no
# connection · proxy: the proxy does not get us there · certificate: it is not the right one · stranger: something else
RelayState = Literal["ok", "address", "name", "unreachable", "proxy", "certificate", "stranger"]
Fate = Literal["untried", "ok", "failed"]
SecondFate = Literal[Fate, "same"]  # same: it is the one by which the relay was reached


class RelaySeen(Struct, frozen=True, kw_only=True):
    """A relay of the settings, and how it sees us. `text` is a sentence on why it failed, `hint` the next step if there
    is one. `connect_ms` is the time until it could be talked with, `round_ms` that of one question.

    `own` is our address as the system has it, `outside` as the relay sees it, `second` as its second port does. `v6`:
    whether it is reached by IPv6. `skew`: how many seconds its clock is ahead of ours, None when it does not say.
    """

    name: str
    port: int = 8000
    state: RelayState = "ok"
    text: str = ""
    hint: str = ""
    proxy: str = ""
    connect_ms: float = 0.0
    round_ms: float = 0.0
    own: str = ""
    outside: Address | None = None
    second: Address | None = None
    second_port: SecondFate = "untried"
    nat: NatKind = "unknown"
    tunnel: bool = False
    bridges: bool = True
    v6: Fate = "untried"
    skew: float | None = None


class Offered(Struct, frozen=True, kw_only=True):
    """Whether the router speaks one of the protocols for mapping a port, its outside address (empty: it does not say),
    and why not.
    """

    protocol: str
    answers: bool = True
    outside: str = ""
    text: str = ""


# off: by the setting · no_route: no router · left_out: by the setting `interfaces` · public: our address is public
Unasked = Literal["", "off", "no_route", "left_out", "public"]


class Router(Struct, frozen=True, kw_only=True):
    """The router on the way out, and what it answers. `unasked`: why it was not asked, `text` is a sentence on that."""

    host: str = ""
    unasked: Unasked = "off"
    text: str = ""
    offers: tuple[Offered, ...] = ()


class Internet(Struct, frozen=True, kw_only=True):
    """What is beyond the LAN; looked at only when a relay is configured. `v6` are our public IPv6 addresses."""

    relays: tuple[RelaySeen, ...] = ()
    v6: tuple[str, ...] = ()
    router: Router = Router()

    @property
    def reached(self) -> tuple[RelaySeen, ...]:
        """Relays that answer."""
        return tuple(relay for relay in self.relays if relay.state == "ok")


class Facts(Struct, frozen=True, kw_only=True):
    """Everything that was gathered. `program` is the Python that runs us, for firewalls that go by program."""

    system: System = "linux"
    program: str = "/usr/bin/python3"
    settings: Settings = Settings()
    cards: Cards = Cards()
    air: Air = Air()
    reaches: tuple[Reach, ...] = ()
    ports: Ports = Ports()
    firewall: Firewall = Firewall()
    folder: Folder = Folder()
    terminal: Terminal = Terminal()
    internet: Internet = Internet()
