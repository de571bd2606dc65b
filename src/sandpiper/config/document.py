"""config.toml: read with the line of each key, and edited one value at a time with all else left as it is."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from sandpiper.config.addresses import Address
from sandpiper.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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
class Document:
    """Its values, and the lines of each top-level key, found by letting tomllib read line by line."""

    path: Path
    lines: list[str]
    newline: str
    values: dict[str, object]
    spans: dict[str, tuple[int, int]]

    @classmethod
    def read(cls, path: Path) -> Document:
        """The file as it is now; one that is not there is empty. Raises: ConfigError: unreadable, or no TOML."""
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
        """File and line of a key, as error texts name it."""
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
