"""The one table of settings: name, type, default, what is allowed and what it is for.

Reading, checking, `sandpiper config` and the table in docs/profiles.md all come from the fields of `Settings`.
"""

from __future__ import annotations

from typing import Annotated, get_type_hints

from msgspec import Struct

from sandpiper.config.addresses import Address
from sandpiper.config.document import as_toml
from sandpiper.config.quoting import shown
from sandpiper.config.rules import Rule, choice, key_change, many, number, place, switch, text
from sandpiper.config.rules import relay as relay_place
from sandpiper.errors import ConfigError


class Settings(Struct, frozen=True, kw_only=True):
    """Every setting, its default and its rule. Names and defaults here are what users type and see."""

    nick: Annotated[str, text("Name that others see; empty: the profile's own.")] = ""
    profile: Annotated[str, text("Profile to use; empty: the one of the nick, else the last used.")] = ""
    room: Annotated[str, text("Open room to start in.")] = "general"
    port: Annotated[int, number("TCP port to listen on; 0: the first free one of 8080 to 8999.", 0, 65535)] = 0
    multicast: Annotated[Address, place("Group that finds peers on the LAN.", multicast=True)] = Address(
        "224.0.0.1", 9999
    )
    interfaces: Annotated[tuple[str, ...], many(text("Network interfaces to use on the LAN; empty: all."))] = ()
    compat: Annotated[str, choice("Old dialect to speak as well.", "", "p2pchat")] = ""
    linger: Annotated[float, number("Seconds to wait for delivery at the end of input.", 0, 3600, float)] = 2.0
    peers: Annotated[tuple[Address, ...], many(place("Peers to connect to at the start."))] = ()
    relay: Annotated[tuple[str, ...], many(relay_place("Relays where private rooms meet across networks."))] = ()
    port_mapping: Annotated[
        str,
        choice("Whether the router is asked to pass our port on, while a private room uses a relay.", "auto", "off"),
    ] = "auto"
    history_lines: Annotated[int, number("Lines of history shown at the start of line mode.", 0, 5000)] = 100
    colour: Annotated[str, choice("Colours on the terminal.", "auto", "always", "never")] = "auto"
    theme: Annotated[
        str,
        choice(
            "Look of the full-screen face; auto: dark, or what the terminal says of its background.",
            "auto",
            "dark",
            "light",
            "none",
        ),
    ] = "auto"
    emoji: Annotated[
        str,
        choice(
            "How emoji are shown full-screen: safe (joined ones apart, so that no terminal breaks the frame), "
            "joined (as sent), codes (as :names:).",
            "safe",
            "joined",
            "codes",
        ),
    ] = "safe"
    notify: Annotated[
        str,
        choice(
            "How the full-screen face calls you when you are mentioned or written to.", "off", "bell", "osc9", "osc777"
        ),
    ] = "bell"
    keys: Annotated[
        tuple[str, ...],
        many(key_change("Other keys for the full-screen face, as jump=ctrl+g; actions are in its help.")),
    ] = ()
    qr: Annotated[bool, switch("Show the codes of private rooms as QR codes, too, on a terminal.")] = True
    keyring: Annotated[bool, switch("Keep keys in the system's keyring when it has one.")] = True


class Setting(Struct, frozen=True):
    """One row of the table."""

    name: str
    default: object
    rule: Rule

    @property
    def env(self) -> str:
        """Its environment variable."""
        return f"SANDPIPER_{self.name.upper()}"

    @property
    def flag(self) -> str:
        """Its option on the command line, for those that have one."""
        return "--" + {"interfaces": "interface", "peers": "peer"}.get(self.name, self.name.replace("_", "-"))

    def parse(self, value: object, source: str) -> object:
        """The checked value. Raises: ConfigError naming `source`, what is wrong and what is allowed."""
        try:
            return self.rule.parse(value)
        except ValueError as exc:
            raise ConfigError(
                f"{source}: {self.name} cannot be {shown(value)}: {exc}.",
                hint=f"Allowed: {self.rule.allowed}.",
                code="bad_setting",
            ) from None


def table() -> dict[str, Setting]:
    """The rows by name, in the order that people see them."""
    hints, defaults = get_type_hints(Settings, include_extras=True), Settings()
    return {
        name: Setting(name, getattr(defaults, name), hints[name].__metadata__[0]) for name in Settings.__struct_fields__
    }


def settings_markdown() -> str:
    """The table of settings for the docs."""
    lines = ["| setting | environment | default | what for | allowed |", "|---|---|---|---|---|"]
    lines += [
        f"| `{row.name}` | `{row.env}` | `{as_toml(row.default)}` | {row.rule.about} | {row.rule.allowed} |"
        for row in table().values()
    ]
    return "\n".join(lines) + "\n"
