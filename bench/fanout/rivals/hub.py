"""Our hub with everything on (rooms, ids, history in memory, limits), on uvloop and on plain asyncio."""

from __future__ import annotations

import importlib.util
import sys

from bench.fanout.rivals import Rival, Site


def _missing() -> str | None:
    return None if importlib.util.find_spec("sandpiper.hub.serving") else "the hub does not exist yet"


def _missing_uvloop() -> str | None:
    if importlib.util.find_spec("uvloop") is None:
        return "uvloop is not installed (pip install uvloop)"
    return _missing()


def _command(loop: str, site: Site) -> list[str]:
    return [sys.executable, "-m", "bench.fanout.hub_server", str(site.port), loop]


UVLOOP = Rival("hub (uvloop)", "hub", lambda site: _command("uvloop", site), _missing_uvloop, ours=True, presence=True)
ASYNCIO = Rival(
    "hub (asyncio)", "hub", lambda site: _command("asyncio", site), _missing, ours=True, usual=True, presence=True
)
