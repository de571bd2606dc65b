"""Where settings come from: flag > `SANDPIPER_*` environment > `config.toml` > default; and writing one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from sandpiper.config.document import Document, as_toml
from sandpiper.config.paths import write_whole
from sandpiper.config.quoting import shown
from sandpiper.config.settings import Settings, table
from sandpiper.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sandpiper.config.paths import Paths


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
    rows, document = table(), Document.read(paths.config_file)
    if unknown := given.keys() - rows.keys():
        raise TypeError(f"flags that are no settings: {sorted(unknown)}")
    values, sources = {}, dict.fromkeys(rows, "default")
    for name, row in rows.items():
        layers = [(document.where(name), document.values.get(name)), (row.env, env.get(row.env) or None)]
        for source, value in [*layers, (row.flag, given.get(name))]:
            if value is not None:
                values[name], sources[name] = row.parse(value, source), source
    warnings = [
        f"{document.where(name)}: {shown(name)} is not a setting and is ignored.{_nearest(name)}"
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
            f"{shown(name)} is not a setting.{_nearest(name)}",
            hint="List them with: sandpiper config",
            code="no_setting",
        )
    document = Document.read(paths.config_file)
    content = document.with_value(row.name, as_toml(row.parse(text, "config set")))
    try:
        paths.config_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        target = document.path.resolve()  # a link into a folder of dotfiles stays a link
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
        write_whole(target, content.encode(), mode=mode)
    except OSError as exc:
        raise ConfigError(f"Cannot write {document.path}: {exc.strerror}.", hint="Check its owner and mode.") from exc
