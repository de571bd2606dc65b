"""The directories of this user, and writing a file in them so that it is never half there."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandpiper.config.quoting import shown
from sandpiper.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


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
                raise ConfigError(f"SANDPIPER_HOME: {shown(home)} cannot be found: {exc}.") from exc
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
