"""The hub's settings: one table of them, and where they come from: flag > `SANDPIPER_HUB_*` > file > default."""

from __future__ import annotations

import base64
import difflib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_type_hints

import msgspec
from msgspec import Struct
from typing_extensions import override

from sandpiper.config import Setting, as_toml
from sandpiper.config.document import Document
from sandpiper.config.quoting import shown
from sandpiper.config.rules import Rule, choice, many, number, switch
from sandpiper.errors import ConfigError
from sandpiper.hub.bus.address import TOKEN_VARIABLE, read_bus
from sandpiper.hub.limits import MAX_ROOMS, ChatSettings, Pace
from sandpiper.hub.rendezvous.limits import RendezvousSettings
from sandpiper.wire.ids import PeerKey
from sandpiper.wire.limits import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

PASSWORD_VARIABLE = "SANDPIPER_HUB_PASSWORD"
MAX_PASSWORD_CHARS = 256  # as a room's
MAX_PATH_CHARS = 1024  # systems allow 260 to 4096
MAX_MOTD_CHARS = 500  # a few lines on a small screen; everybody gets it at every start


def _line(about: str, most: int) -> Rule:
    """One line of text, longer than other settings are."""

    def parse(value: object) -> str:
        if not isinstance(value, str) or len(value.strip()) > most or not value.strip().isprintable():
            raise ValueError("it is no text, too long, or has control characters")
        return value.strip()

    return Rule(about, f"text of at most {most} characters on one line", parse)


def _path(about: str) -> Rule:
    return _line(about, MAX_PATH_CHARS)


def _bus_name(about: str) -> Rule:
    def parse(value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch("[a-z0-9_-]{1,32}", value):
            raise ValueError("it is not such a name")
        return value

    return Rule(about, "1 to 32 of a-z, 0-9, _ and -", parse)


def _key(about: str) -> Rule:
    """A public key."""

    def parse(value: object) -> PeerKey:
        if isinstance(value, bytes) and len(value) == KEY_BYTES:
            return PeerKey(value)
        if isinstance(value, str):
            text = value.strip()
            try:
                found = bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else base64.b64decode(text, validate=True)
            except ValueError:
                found = b""
            if len(found) == KEY_BYTES:
                return PeerKey(found)
        raise ValueError("it is not a key")

    return Rule(about, "a public key: 64 hexadecimal digits, or 44 characters of base64", parse)


class HubSettings(Struct, frozen=True, kw_only=True):
    """Every setting of a hub, its default and its rule. Names and defaults here are what operators type and see."""

    host: Annotated[tuple[str, ...], many(_line("Addresses of this machine to listen on; none: all.", 255))] = ()
    port: Annotated[int, number("TCP port; 0: any free one.", 0, 65535)] = 5000
    roles: Annotated[tuple[str, ...], many(choice("What to serve.", "chat", "rendezvous", "relay"))] = ("chat",)
    name: Annotated[str, _line("What the hub calls itself.", 64)] = "sandpiper"
    motd: Annotated[str, _line("What everybody is told who comes in.", MAX_MOTD_CHARS)] = ""
    tls: Annotated[str, choice("Make a certificate, kept in the data directory.", "", "self-signed")] = ""
    tls_cert: Annotated[str, _path("Certificate and its chain, PEM.")] = ""
    tls_key: Annotated[str, _path("Key of the certificate, PEM.")] = ""
    tls_only: Annotated[bool, switch("Refuse to chat without TLS.")] = False
    password_file: Annotated[str, _path("File with the password that guests must know, on its first line.")] = ""
    operators: Annotated[tuple[PeerKey, ...], many(_key("Keys of those who rule all rooms."))] = ()
    connections: Annotated[int, number("Guests at once.", 1, 1_000_000)] = 20_000
    connections_an_address: Annotated[int, number("Guests at once of one address.", 1, 1_000_000)] = 256
    count_loopback: Annotated[bool, switch("Limits of an address hold for this machine, too.")] = False
    rooms: Annotated[int, number("Rooms at once.", 1, 100_000)] = MAX_ROOMS
    guests_a_room: Annotated[int, number("Guests of one room.", 2, 1_000_000)] = 20_000
    guest_rate: Annotated[float, number("Messages a second of one guest.", 0.1, 1e9, float)] = 20
    guest_burst: Annotated[float, number("Messages at once of one guest.", 5, 1e9, float)] = 200
    address_rate: Annotated[float, number("Messages a second of one address.", 0.1, 1e9, float)] = 200
    address_burst: Annotated[float, number("Messages at once of one address.", 5, 1e9, float)] = 2000
    room_rate: Annotated[float, number("Messages a second in one room.", 0.1, 1e9, float)] = 2000
    room_burst: Annotated[float, number("Messages at once in one room.", 5, 1e9, float)] = 10_000
    data: Annotated[str, _path("Directory for key, certificate and history; empty: the platform's.")] = ""
    history: Annotated[str, _path("File of the history; empty: history.db in the data directory.")] = ""
    no_history: Annotated[bool, switch("Keep the newest messages in memory only.")] = False
    durable: Annotated[bool, switch("Tell no message before the disk has it, also if the power fails.")] = False
    keep_days: Annotated[int, number("Days that messages are kept; 0: for ever.", 0, 36_500)] = 90
    keep_mb: Annotated[int, number("MiB of messages kept (compressed), the oldest go; 0: all.", 0, 1 << 30)] = 2048
    second_port: Annotated[int, number("Another port, by which peers tell their kind of NAT; 0: none.", 0, 65535)] = 0
    joins_a_minute: Annotated[int, number("Rooms by code that an address enters a minute.", 1, 1_000_000)] = 120
    code_hours: Annotated[float, number("Hours that a code can be used.", 0.001, 8760, float)] = 24
    bridges: Annotated[int, number("Bridges of the relay at once.", 1, 1_000_000)] = 2000
    bridges_an_address: Annotated[int, number("Connections of bridges of one address.", 1, 1_000_000)] = 64
    relay_rate: Annotated[float, number("MiB a second that the relay takes from an address.", 0.001, 1e6, float)] = 16
    relay_burst: Annotated[float, number("MiB at once that the relay takes from an address.", 0.001, 1e6, float)] = 256
    metrics: Annotated[str, choice("Who may read /metrics.", "local", "all", "off")] = "local"
    bus: Annotated[str, _line("NATS servers that make this hub one of a cluster, or embedded.", MAX_PATH_CHARS)] = ""
    bus_name: Annotated[str, _bus_name("What everything of the cluster is called on the bus.")] = "sandpiper"
    bus_creds: Annotated[str, _path("NATS credentials file.")] = ""
    bus_replicas: Annotated[int, number("Copies of everything on NATS servers, when it is made.", 1, 5)] = 1
    uvloop: Annotated[bool, switch("Use uvloop where it is installed.")] = True

    def chat(self, hub_id: bytes) -> ChatSettings:
        """Those that concern the chat."""
        return ChatSettings(
            name=self.name,
            id=hub_id,
            operators=frozenset(self.operators),
            connections=self.connections,
            connections_an_address=self.connections_an_address,
            guests_a_room=self.guests_a_room,
            rooms=self.rooms,
            guest_pace=Pace(self.guest_rate, self.guest_burst),
            address_pace=Pace(self.address_rate, self.address_burst),
            room_pace=Pace(self.room_rate, self.room_burst),
            loopback_counts=self.count_loopback,
        )

    @property
    def introduces(self) -> bool:
        """Whether there is a rendezvous or a relay."""
        return "rendezvous" in self.roles or "relay" in self.roles

    def introductions(self) -> RendezvousSettings:
        """Those that concern the rendezvous and the relay."""
        return RendezvousSettings(
            rendezvous="rendezvous" in self.roles,
            relay="relay" in self.roles,
            second_port=self.second_port,
            guests=self.connections,
            guests_an_address=self.connections_an_address,
            joins_a_minute=self.joins_a_minute,
            code_hours=self.code_hours,
            bridges=self.bridges,
            bridges_an_address=self.bridges_an_address,
            address_rate=self.relay_rate,
            address_burst=self.relay_burst,
        )


# What a running hub takes over when it is told to read its settings again.
RELOADED = frozenset(
    {
        "motd", "tls_cert", "tls_key", "tls_only", "password_file", "operators", "connections",
        "connections_an_address", "rooms", "guests_a_room", "guest_rate", "guest_burst", "address_rate",
        "address_burst", "room_rate", "room_burst", "metrics",
    }
)  # fmt: skip


class HubSetting(Setting, frozen=True):
    """One row of the table."""

    @property
    @override
    def env(self) -> str:
        return f"SANDPIPER_HUB_{self.name.upper()}"

    @property
    @override
    def flag(self) -> str:
        name = {"operators": "operator", "uvloop": "no-uvloop"}.get(self.name, self.name)
        return f"--{name.replace('_', '-')}"


class LoadedHub(Struct, frozen=True):
    """The settings in force, the guests' password, and what to warn about."""

    settings: HubSettings
    password: str
    warnings: tuple[str, ...] = ()
    bus_token: str = ""

    @override
    def __repr__(self) -> str:  # the password is in it
        return "<settings of a hub>"


def table() -> dict[str, HubSetting]:
    """The rows by name, in the order that people see them."""
    hints, defaults = get_type_hints(HubSettings, include_extras=True), HubSettings()
    return {
        name: HubSetting(name, getattr(defaults, name), hints[name].__metadata__[0])
        for name in HubSettings.__struct_fields__
    }


def settings_markdown() -> str:
    """The table of settings for the docs."""
    lines = ["| setting | default | what for | allowed |", "|---|---|---|---|"]
    lines += [
        f"| `{row.name}` | `{as_toml(row.default)}` | {row.rule.about} | {row.rule.allowed} |"
        for row in table().values()
    ]
    return "\n".join(lines) + "\n"


def load(
    flags: Mapping[str, object],
    file: str = "",
    env: Mapping[str, str] | None = None,
    defaults: Mapping[str, object] | None = None,
) -> LoadedHub:
    """Settle every setting. A flag that is None or `()`, and an empty variable, count as not given; `defaults` hold
    before those of the table.

    Raises:
        ConfigError: some value is wrong, two of them contradict each other, or a file cannot be read.
    """
    env = os.environ if env is None else env
    if file and not Path(file).exists():
        raise ConfigError(f"There is no file {file}.", hint="Name the hub's settings file with --config.")
    document = Document.read(Path(file)) if file else Document(Path(), [""], os.linesep, {}, {})
    rows = table()
    values: dict[str, object] = {}
    for name, row in rows.items():
        flag = flags.get(name)
        layers = [
            ("the default", (defaults or {}).get(name)),
            (document.where(name), document.values.get(name)),
            (row.env, env.get(row.env) or None),
            (row.flag, None if flag == () else flag),
        ]
        for source, value in layers:
            if value is not None:
                values[name] = row.parse(value, source)
    warnings = [
        f"{document.where(name)}: {shown(name)} is not a setting of a hub and is ignored.{_nearest(name)}"
        for name in document.values.keys() - rows.keys()
    ]
    known = {PASSWORD_VARIABLE, TOKEN_VARIABLE, *(row.env for row in rows.values())}
    warnings += [
        f"{name} in the environment is not a setting of a hub and is ignored.{_nearest(name[len('SANDPIPER_HUB_') :])}"
        for name in env
        if name.startswith("SANDPIPER_HUB_") and name not in known
    ]
    settings = msgspec.convert(values, HubSettings)
    _check(settings)
    if "chat" not in settings.roles:
        settings = msgspec.structs.replace(settings, no_history=True)  # there is none to keep
    return LoadedHub(settings, _password(settings, env), tuple(sorted(warnings)), env.get(TOKEN_VARIABLE, ""))


def _nearest(name: str) -> str:
    if name.lower() == "password":
        return f" Put it into a file and name that with password_file, or into {PASSWORD_VARIABLE}."
    near = difflib.get_close_matches(name.lower().replace("-", "_"), HubSettings.__struct_fields__, 1)
    return f" Did you mean {near[0]}?" if near else ""


def _check(settings: HubSettings) -> None:
    """Raises: ConfigError: settings that do not go together."""
    if not settings.roles:
        raise ConfigError("There is nothing to serve.", hint="Serve the chat: --roles chat")
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise ConfigError(
            "A certificate needs its key, and a key its certificate.", hint="Give --tls-cert and --tls-key."
        )
    if settings.tls and settings.tls_cert:
        raise ConfigError("There are two certificates.", hint="Give --tls self-signed, or --tls-cert and --tls-key.")
    if settings.tls_only and not (settings.tls or settings.tls_cert):
        raise ConfigError("tls_only needs a certificate.", hint="Give --tls self-signed, or --tls-cert and --tls-key.")
    if settings.bus:
        bus = read_bus(settings.bus)
        if settings.durable and not bus.embedded:
            raise ConfigError(
                "durable is about the hub's own disk, and these NATS servers have theirs.",
                hint="Leave durable off, and set sync_interval: always in the settings of the NATS servers.",
            )
        if settings.history or settings.no_history:
            raise ConfigError("With a bus, the history is there.", hint="Leave history and no_history off.")
    if settings.second_port and settings.second_port == settings.port:
        raise ConfigError("The second port is the first one.", hint="Give --second-port another number.")
    if settings.no_history and (settings.history or settings.durable):
        raise ConfigError("no_history goes neither with history nor with durable.", hint="Leave one of them off.")


def _password(settings: HubSettings, env: Mapping[str, str]) -> str:
    """Raises: ConfigError: its file cannot be read, or it is none."""
    path = settings.password_file
    if not path:
        return env.get(PASSWORD_VARIABLE, "")
    try:
        with open(path, encoding="utf-8") as file:
            password = file.readline(MAX_PASSWORD_CHARS + 2).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise ConfigError(f"Cannot read the password file {path}: {why}.", hint="Check its name and mode.") from exc
    if not 0 < len(password) <= MAX_PASSWORD_CHARS:
        raise ConfigError(
            f"The first line of {path} is no password.", hint=f"It has 1 to {MAX_PASSWORD_CHARS} characters."
        )
    return password
