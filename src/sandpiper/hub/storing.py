"""What a hub keeps in its data directory: its key and its history."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from sandpiper.crypto.identity import Identity
from sandpiper.hub.history import History, MemoryHistory
from sandpiper.hub.limits import MAX_KEPT_ROOMS
from sandpiper.store.keys import disk_errors, load_key, save_key
from sandpiper.wire.limits import KEY_BYTES

if TYPE_CHECKING:
    from sandpiper.hub.settings import HubSettings

HISTORY_FILE, KEY_FILE = "history.db", "identity"
_FOREVER = 1 << 62
"""Seconds or bytes: more than there will be."""


def open_history(settings: HubSettings, data: Path) -> History:
    """The history that the settings mean.

    Raises:
        StoreError: its file cannot be used.
    """
    if settings.no_history:
        return MemoryHistory()
    path = Path(settings.history).expanduser().absolute() if settings.history else data / HISTORY_FILE
    with disk_errors(path):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    from sandpiper.hub.sqlite import SqliteHistory
    from sandpiper.hub.sqlite_schema import HistorySettings

    chosen = HistorySettings(
        durable=settings.durable,
        keep_seconds=settings.keep_days * 86_400 or _FOREVER,
        keep_bytes=settings.keep_mb << 20 or _FOREVER,
        keep_rooms=max(MAX_KEPT_ROOMS, settings.rooms),
    )
    return SqliteHistory(path, chosen)


def hub_key(data: Path) -> Identity:
    """The hub's key, made at its first start.

    Raises:
        StoreError: the disk refused.
        ConfigError: the file is damaged, or others can read it.
    """
    path = data / KEY_FILE
    with disk_errors(path):
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.path.lexists(path):
        save_key(path, Identity(os.urandom(KEY_BYTES)), entry="", passphrase="", keyring=False, rng=os.urandom)
    return load_key(path, "hub", keyring=False, ask=lambda: "")
