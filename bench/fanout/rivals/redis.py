"""redis-server as a message bus: SUBSCRIBE and PUBLISH on one channel, nothing kept, output buffers without a limit."""

from __future__ import annotations

from bench.fanout.rivals import Rival, Site, needs, program

CONFIG = """\
bind 127.0.0.1
port {port}
dir {folder}
save ""
appendonly no
maxclients 18000
tcp-backlog 4096
client-output-buffer-limit pubsub 0 0 0
daemonize no
"""


def _command(site: Site) -> list[str]:
    config = site.folder / "redis.conf"
    config.write_text(CONFIG.format(port=site.port, folder=site.folder))
    return [program("redis-server") or "redis-server", str(config)]


RIVAL = Rival("redis", "redis", _command, needs("redis-server", "apt install redis-server"), real=True)
