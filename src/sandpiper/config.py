"""Settings and directories: flag > `SANDPIPER_*` environment > `config.toml` > default.

The fields of `Settings` are the one table: name, type, default, what is allowed and what it is for. Reading,
checking, `sandpiper config` and the table in docs/profiles.md all come from them. Nothing is created at import,
and what only some starts need (tomllib, pathlib, platformdirs) is imported where it is used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple, get_type_hints

import msgspec
from msgspec import Struct
from typing_extensions import override

from sandpiper.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MAX_TEXT_SETTING = 64  # twice a nick: a longer one is a paste by mistake


class Address(NamedTuple):
    """A host (name, IPv4 or IPv6 without brackets) and a port. `str()` is what `parse_address` reads."""

    host: str
    port: int

    @override
    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, default_port: int | None = None) -> Address:
    """`HOST:PORT`, `[IPv6]:PORT`, or the host alone when there is a `default_port`. `tcp://` in front is let pass.

    Raises:
        UsageError: it is not an address.
    """
    try:
        return _address(text, default_port)
    except ValueError as exc:
        wanted = "HOST:PORT" if default_port is None else "HOST or HOST:PORT"
        raise UsageError(
            f"{_shown(text)} is not an address: {exc}.",
            hint=f"Give {wanted}, for example 192.168.1.20:8080 or [::1]:8080.",
            code="bad_address",
        ) from None


def _address(text: str, default_port: int | None = None) -> Address:
    host, bracket, rest = text.strip().removeprefix("tcp://").removesuffix("/").rpartition("]")
    if "://" in rest:
        raise ValueError(f"leave off {_shown(rest.partition('://')[0] + '://')}")
    if bracket:
        if not host.startswith("[") or not _is_ip(host[1:], 6) or rest[:1] not in ("", ":"):
            raise ValueError("an IPv6 address looks like [::1]:8080")
        host, colon, port = host[1:], rest[:1], rest[1:]
    else:
        host, colon, port = rest.partition(":")
        if ":" in port:
            raise ValueError("an IPv6 address needs brackets, as in [::1]:8080")
        if not re.fullmatch(r"[^\W_][\w.-]{0,252}", host):
            raise ValueError(f"{_shown(host)} is not a host name" if host else "the host is missing")
        if re.fullmatch(r"[0-9.]+", host) and not _is_ip(host, 4):
            raise ValueError(f"{_shown(host)} is not an IPv4 address")
    if not colon:
        if default_port is None:
            raise ValueError("the port is missing")
        return Address(host, default_port)
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= 65535:
        raise ValueError("the port must be a number from 1 to 65535")
    return Address(host, int(port))


def _is_ip(text: str, version: int, *, multicast: bool = False) -> bool:
    import ipaddress

    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return False
    return found.version == version and (found.is_multicast or not multicast)


def _shown(value: object) -> str:
    """`value` as an error text may quote it: escaped, and cut when long."""
    text = ", ".join(map(str, value)) if isinstance(value, tuple | list) else repr(value)
    return text if len(text) <= 80 else text[:79] + "…"


class Rule(Struct, frozen=True):
    """What a setting is for and what it may be. `parse` takes text or a TOML value and raises ValueError."""

    about: str
    allowed: str
    parse: Callable[[object], object]


def _text(about: str) -> Rule:
    def parse(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError("it is not text")
        if len(value.strip()) > MAX_TEXT_SETTING or not value.strip().isprintable():
            raise ValueError("it is too long or has control characters")
        return value.strip()

    return Rule(about, f"text of at most {MAX_TEXT_SETTING} characters on one line", parse)


def _number(about: str, low: int, high: int, kind: type[int] | type[float] = int) -> Rule:
    name = "whole number" if kind is int else "number"

    def parse(value: object) -> int | float:
        if isinstance(value, bool) or not isinstance(value, str | int | kind):
            raise ValueError(f"it is not a {name}")
        try:
            number = kind(value)
        except (ValueError, OverflowError):
            raise ValueError(f"it is not a {name}") from None
        if not low <= number <= high:
            raise ValueError("it is out of range")
        return number

    return Rule(about, f"a {name} from {low} to {high}", parse)


def _choice(about: str, *words: str) -> Rule:
    def parse(value: object) -> str:
        if not isinstance(value, str) or value.strip().lower() not in words:
            raise ValueError("it is none of the choices")
        return value.strip().lower()

    return Rule(about, " or ".join(word or "empty" for word in words), parse)


def _switch(about: str) -> Rule:
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}

    def parse(value: object) -> bool:
        if str(value).strip().lower() not in words or not isinstance(value, str | bool):
            raise ValueError("it is neither true nor false")
        return words[str(value).strip().lower()]

    return Rule(about, "true or false (also yes/no, on/off, 1/0)", parse)


def _place(about: str, *, multicast: bool = False) -> Rule:
    def parse(value: object) -> Address:
        if not isinstance(value, str | Address):
            raise ValueError("it is not text")
        found = _address(str(value))
        if multicast and not _is_ip(found.host, 4, multicast=True):
            raise ValueError(f"{_shown(found.host)} is not an IPv4 multicast group")
        return found

    group = "ADDR:PORT with ADDR from 224.0.0.0 to 239.255.255.255"
    return Rule(about, group if multicast else "HOST:PORT, as 192.168.1.20:8080 or [::1]:8080", parse)


def _many(one: Rule) -> Rule:
    def parse(value: object) -> tuple[object, ...]:
        if not isinstance(value, str | list | tuple) or isinstance(value, Address):
            raise ValueError("it is not a list")
        items = value.split(",") if isinstance(value, str) else value
        return tuple(one.parse(item) for item in items if not isinstance(item, str) or item.strip())

    return Rule(one.about, f"a list (or values with commas between) of {one.allowed}", parse)


class Settings(Struct, frozen=True, kw_only=True):
    """Every setting, its default and its rule. Names and defaults here are what users type and see."""

    nick: Annotated[str, _text("Name that others see; empty: the profile's own.")] = ""
    profile: Annotated[str, _text("Profile to use; empty: the one of the nick, else the last used.")] = ""
    room: Annotated[str, _text("Open room to start in.")] = "general"
    port: Annotated[int, _number("TCP port to listen on; 0: the first free one of 8080 to 8999.", 0, 65535)] = 0
    multicast: Annotated[Address, _place("Group that finds peers on the LAN.", multicast=True)] = Address(
        "224.0.0.1", 9999
    )
    interfaces: Annotated[tuple[str, ...], _many(_text("Network interfaces to use on the LAN; empty: all."))] = ()
    compat: Annotated[str, _choice("Old dialect to speak as well.", "", "p2pchat")] = ""
    linger: Annotated[float, _number("Seconds to wait for delivery at the end of input.", 0, 3600, float)] = 2.0
    peers: Annotated[tuple[Address, ...], _many(_place("Peers to connect to at the start."))] = ()
    history_lines: Annotated[int, _number("Lines of history shown at the start.", 0, 5000)] = 100
    colour: Annotated[str, _choice("Colours on the terminal.", "auto", "always", "never")] = "auto"
    keyring: Annotated[bool, _switch("Keep keys in the system's keyring when it has one.")] = True


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
                f"{source}: {self.name} cannot be {_shown(value)}: {exc}.",
                hint=f"Allowed: {self.rule.allowed}.",
                code="bad_setting",
            ) from None


def table() -> dict[str, Setting]:
    """The rows by name, in the order that people see them."""
    hints, defaults = get_type_hints(Settings, include_extras=True), Settings()
    return {
        name: Setting(name, getattr(defaults, name), hints[name].__metadata__[0]) for name in Settings.__struct_fields__
    }


class Loaded(Struct, frozen=True):
    """The settings in force, where each came from, and what to warn about."""

    settings: Settings
    sources: dict[str, str]
    warnings: tuple[str, ...] = ()

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Name, value as TOML, source: for `sandpiper config`."""
        for name, source in self.sources.items():
            yield name, as_toml(getattr(self.settings, name)), source


def load(paths: Paths, flags: Mapping[str, object] | None = None, env: Mapping[str, str] | None = None) -> Loaded:
    """Settle every setting. A flag that is None or `()`, and an empty variable, count as not given.

    Raises:
        ConfigError: some value is wrong, also one that another source overrides; or config.toml cannot be read.
    """
    env = os.environ if env is None else env
    given = {name: value for name, value in (flags or {}).items() if value is not None and value != ()}
    rows, document = table(), _Document.read(paths.config_file)
    if unknown := given.keys() - rows.keys():
        raise TypeError(f"flags that are no settings: {sorted(unknown)}")
    values, sources = {}, dict.fromkeys(rows, "default")
    for name, row in rows.items():
        layers = [(document.where(name), document.values.get(name)), (row.env, env.get(row.env) or None)]
        for source, value in [*layers, (row.flag, given.get(name))]:
            if value is not None:
                values[name], sources[name] = row.parse(value, source), source
    warnings = [
        f"{document.where(name)}: {_shown(name)} is not a setting and is ignored.{_nearest(name)}"
        for name in document.values.keys() - rows.keys()
    ]
    return Loaded(msgspec.convert(values, Settings), sources, tuple(sorted(warnings)))


def _nearest(name: str) -> str:
    import difflib

    near = difflib.get_close_matches(name.lower().replace("-", "_"), Settings.__struct_fields__, 1)
    return f" Did you mean {near[0]}?" if near else ""


def set_value(paths: Paths, name: str, text: str) -> None:
    """Write one setting into config.toml, leaving all else in it as it is, comments and order too.

    Raises:
        UsageError: there is no such setting.
        ConfigError: the value is not allowed, or the file cannot be read, safely edited, or written.
    """
    row = table().get(name.replace("-", "_"))
    if row is None:
        raise UsageError(
            f"{_shown(name)} is not a setting.{_nearest(name)}",
            hint="List them with: sandpiper config",
            code="no_setting",
        )
    document = _Document.read(paths.config_file)
    content = document.with_value(row.name, as_toml(row.parse(text, "config set")))
    try:
        paths.config_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = document.path.resolve()  # a link into a folder of dotfiles stays a link
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
        write_whole(target, content.encode(), mode=mode)
    except OSError as exc:
        raise ConfigError(f"Cannot write {document.path}: {exc.strerror}.", hint="Check its owner and mode.") from exc


def as_toml(value: object) -> str:
    """A setting's value as config.toml spells it."""
    match value:
        case bool():
            return str(value).lower()
        case str() | Address():
            return msgspec.json.encode(str(value)).decode()
        case tuple():
            return f"[{', '.join(map(as_toml, value))}]"
        case _:
            return str(value)


@dataclass(frozen=True, slots=True)
class _Document:
    """config.toml: its values, and the lines of each top-level key, found by letting tomllib read line by line."""

    path: Path
    lines: list[str]
    newline: str
    values: dict[str, object]
    spans: dict[str, tuple[int, int]]

    @classmethod
    def read(cls, path: Path) -> _Document:
        try:
            raw = path.read_bytes().decode("utf-8-sig")
        except FileNotFoundError:
            return cls(path, [""], os.linesep, {}, {})
        except (OSError, UnicodeDecodeError) as exc:
            why = "it is not UTF-8 text" if isinstance(exc, UnicodeDecodeError) else exc.strerror
            raise ConfigError(f"Cannot read {path}: {why}.", hint="Mend the file or move it away.") from exc
        import tomllib

        text = raw.replace("\r\n", "\n")
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as exc:
            line = re.search(r"line (\d+)", str(exc))
            raise ConfigError(
                f"{path}{':' + line[1] if line else ''}: this is not valid TOML: {exc}.",
                hint='Each line is: name = value, and text stands in quotes, as in nick = "alice".',
            ) from exc
        lines = text.split("\n")
        return cls(path, lines, "\r\n" if "\r\n" in raw else "\n", values, dict(_statements(lines)))

    def where(self, name: str) -> str:
        return f"{self.path}:{self.spans[name][0] + 1}" if name in self.spans else str(self.path)

    def with_value(self, name: str, value: str) -> str:
        """The text with `name = value`. A comment behind an old value stays. Raises: ConfigError if unsure."""
        import tomllib

        lines, plain = list(self.lines), tomllib.loads(f"{name} = {value}")
        if name in self.spans:
            start, end = self.spans[name]
            old, comment = "\n".join(lines[start:end]), ""
            for found in re.finditer(r"\s*#", old):
                with suppress(tomllib.TOMLDecodeError):
                    tomllib.loads(old[: found.start()])
                    comment = old[found.start() :]
                    break
            lines[start:end] = [f"{old[: old.find('=')].rstrip()} = {value}{comment}"]
        else:
            tables = {key for key, (start, _) in self.spans.items() if lines[start].lstrip().startswith("[")}
            last = len(lines) - (not lines[-1])
            at = max((self.spans[key][1] for key in self.spans.keys() - tables), default=0 if tables else last)
            lines.insert(at, f"{name} = {value}")
        text = "\n".join(lines)
        text = text if text.endswith("\n") else text + "\n"
        with suppress(tomllib.TOMLDecodeError):
            if tomllib.loads(text) == {**self.values, **plain}:
                return text.replace("\n", self.newline)
        raise ConfigError(f"Cannot change {name} in {self.path} safely.", hint=f"Edit it by hand: {name} = {value}")


def _statements(lines: list[str]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Key, first line and line past the end, of every top-level key or table in valid TOML."""
    import tomllib

    end, inside = 0, False
    for start, line in enumerate(lines):
        text = line.strip()
        if start < end or not text or text.startswith("#"):
            continue
        is_table = text.startswith("[")
        for end in range(start + 1, len(lines) + 1):
            with suppress(tomllib.TOMLDecodeError):
                key = next(iter(tomllib.loads("\n".join(lines[start:end]))))
                if is_table or not inside:
                    yield key, (start, end)
                break
        inside = inside or is_table


def settings_markdown() -> str:
    """The table of settings for the docs."""
    lines = ["| setting | environment | default | what for | allowed |", "|---|---|---|---|---|"]
    lines += [
        f"| `{row.name}` | `{row.env}` | `{as_toml(row.default)}` | {row.rule.about} | {row.rule.allowed} |"
        for row in table().values()
    ]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Paths:
    """The directories of this user. `portable`: all of them are below `SANDPIPER_HOME`."""

    config_dir: Path
    data_dir: Path
    log_dir: Path
    portable: bool = False

    @classmethod
    def find(cls, env: Mapping[str, str] | None = None) -> Paths:
        """From `SANDPIPER_HOME`, else where the platform keeps such files. Creates nothing.

        Raises:
            ConfigError: `SANDPIPER_HOME` names a home directory that does not exist (`~nobody`).
        """
        from pathlib import Path

        if home := (os.environ if env is None else env).get("SANDPIPER_HOME"):
            try:
                root = Path(home).expanduser().absolute()
            except RuntimeError as exc:
                raise ConfigError(f"SANDPIPER_HOME: {_shown(home)} cannot be found: {exc}.") from exc
            return cls(root, root, root / "log", portable=True)
        from platformdirs import PlatformDirs

        dirs = PlatformDirs("sandpiper", appauthor=False)
        return cls(dirs.user_config_path, dirs.user_data_path, dirs.user_log_path)

    @property
    def config_file(self) -> Path:
        """The settings file; it need not exist."""
        return self.config_dir / "config.toml"

    @property
    def profiles(self) -> Path:
        """The directory of all profiles."""
        return self.data_dir / "profiles"


def write_whole(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Write a file so that after a crash the old or the new one is there, whole, and never with a wider mode.

    Raises:
        OSError: the disk does not want it; the old file is as it was.
    """
    fresh = path.with_name(f"{path.name}.{os.urandom(6).hex()}.tmp")
    opened = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
    try:
        with open(opened, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    if os.name == "posix":  # the rename itself is on the disk only when the directory is
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
