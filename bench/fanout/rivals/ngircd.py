"""ngIRCd: one channel, penalties and limits off, no DNS, ident or PAM."""

from __future__ import annotations

import os

from bench.fanout.rivals import Rival, Site, needs, program

CONFIG = """\
[Global]
Name = irc.bench.invalid
AdminInfo1 = bench
AdminEMail = bench@bench.invalid
Info = bench
MotdPhrase = bench
Listen = 127.0.0.1
Ports = {port}

[Limits]
MaxConnections = 0
MaxConnectionsIP = 0
MaxJoins = 0
MaxPenaltyTime = 0
PingTimeout = 3600
PongTimeout = 60

[Options]
DNS = no
Ident = no
PAM = no
"""


def _command(site: Site) -> list[str]:
    config = site.folder / "ngircd.conf"
    config.write_text(CONFIG.format(port=site.port))
    command = [program("ngircd") or "ngircd", "--nodaemon", "--config", str(config)]
    if os.geteuid() != 0:
        return command
    # It gives up root by itself, which would also end the order to die with us; so it starts as nobody.
    site.folder.chmod(0o755)
    return ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--pdeathsig", "KILL", *command]


RIVAL = Rival(
    "ngircd",
    "irc",
    _command,
    needs("ngircd", "apt install ngircd"),
    real=True,
    presence=True,
    at_once=8,  # its backlog is 10: more, and connecting waits for the kernel's second try
)
