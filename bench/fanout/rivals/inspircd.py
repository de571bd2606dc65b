"""InspIRCd: one channel, flood protection and limits off, no host or ident lookups."""

from __future__ import annotations

import os

from bench.fanout.rivals import Rival, Site, needs, program

# threshold, commandrate, fakelag: no penalty for talking. recvq, sendq: far above a window. netbuffersize: the largest
# it takes, so that one read brings a whole window. Modes "nt" would be the default; nothing is asked of a message here.
CONFIG = """\
<server name="irc.bench.invalid" description="bench" network="bench">
<admin name="bench" nick="bench" email="bench@bench.invalid">
<bind address="127.0.0.1" port="{port}" type="clients">
<connect name="main" allow="*" timeout="60" pingfreq="1h" hardsendq="1G" softsendq="1G" recvq="64M"
         threshold="1000000000" commandrate="1000000000" fakelag="no" localmax="20000" globalmax="20000"
         limit="20000" maxchans="20" maxconnwarn="no" resolvehostnames="no" useident="no">
<performance netbuffersize="65534" somaxconn="4096" softlimit="20000" clonesonconnect="no">
<channels users="20" opers="20">
<options defaultmodes="" syntaxhints="no">
<files motd="{folder}/motd">
<pid file="{folder}/pid">
<log method="file" type="*" level="default" target="{folder}/log">
"""


def _command(site: Site) -> list[str]:
    (site.folder / "motd").write_text("bench\n")
    config = site.folder / "inspircd.conf"
    config.write_text(CONFIG.format(port=site.port, folder=site.folder))
    as_root = ["--runasroot"] if os.geteuid() == 0 else []
    return [program("inspircd") or "inspircd", "--nofork", *as_root, "--config", str(config)]


RIVAL = Rival(
    "inspircd",
    "irc",
    _command,
    needs("inspircd", "apt install inspircd"),
    real=True,
    presence=True,
    at_once=1024,  # it lets in those who wait once a second, so few at a time would measure its clock
)
