"""Asks the programs that manage firewalls what comes in; without root, without waiting, and changing nothing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sandpiper.faces.doctor.facts import Firewall, FirewallTool, System, Verdict
from sandpiper.faces.doctor.rules.iptables import iptables_fate
from sandpiper.faces.doctor.rules.nftables import nft_fate
from sandpiper.faces.doctor.rules.walk import Packet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sandpiper.config import Address

COMMAND_SECONDS = 0.8  # healthy ones take milliseconds; firewall-cmd, in Python, some 300
TOTAL_SECONDS = 2.0
_FOLDERS = ("/usr/sbin", "/sbin", "/usr/local/sbin")
_UFW = Path("/etc/ufw/ufw.conf")
_MACOS = "/usr/libexec/ApplicationFirewall/socketfilterfw"


class _Commands:
    """Runs commands until the time for all of them is over."""

    def __init__(self) -> None:
        self._until = time.monotonic() + TOTAL_SECONDS
        self._path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_FOLDERS])

    def there(self, name: str) -> bool:
        """Whether there is such a program."""
        return shutil.which(name, path=self._path) is not None

    def output(self, *argv: str) -> bytes | None:
        """What a command wrote to stdout; None when it is not there, not allowed or too slow."""
        program = shutil.which(argv[0], path=self._path)
        left = min(COMMAND_SECONDS, self._until - time.monotonic())
        if program is None or left <= 0:
            return None
        try:
            done = subprocess.run(
                [program, *argv[1:]],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=left,
                check=False,
                env={**os.environ, "LC_ALL": "C"},
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout if done.returncode == 0 else None


def probe_firewall(system: System, group: Address, port: int, interface: str, address: str) -> Firewall:
    """What happens to beacons to `group` and to dials to `port` that come in on `interface` for `address`."""
    commands = _Commands()
    match system:
        case "linux":
            beacon = Packet(protocol="udp", port=group.port, to=group.host, interface=interface)
            return _linux(commands, beacon, Packet(protocol="tcp", port=port, to=address, interface=interface))
        case "macos":
            return macos_firewall(commands.output(_MACOS, "--getglobalstate"))
        case "windows":
            return windows_firewall(commands.output("netsh", "advfirewall", "show", "currentprofile", "state"))
        case "other":
            return Firewall()


def _linux(commands: _Commands, beacon: Packet, dial: Packet) -> Firewall:
    manager: FirewallTool = ""
    if _ufw_on():
        manager = "ufw"
    elif commands.output("firewall-cmd", "--state") is not None:
        manager = "firewalld"
    found: list[Firewall] = []
    listed = commands.output("nft", "-j", "list", "ruleset")
    if listed is not None:
        (udp, where), (tcp, where_tcp) = nft_fate(listed, beacon), nft_fate(listed, dial)
        tool: FirewallTool = "nftables" if b'"rule"' in listed or "drop" in (udp, tcp) else ""
        found.append(Firewall(tool=tool, udp=udp, tcp=tcp, place=where or where_tcp))
    wanted = listed is None or _has_old_rules(listed)
    listed = commands.output("iptables", "-S") if wanted else None
    if listed is not None:
        text = listed.decode("utf-8", "replace")
        tool = "iptables" if "-A INPUT" in text or "-P INPUT DROP" in text else ""
        found.append(Firewall(tool=tool, udp=iptables_fate(text, beacon), tcp=iptables_fate(text, dial)))
    zone: Firewall | None = None
    if manager == "firewalld" and (listed := commands.output("firewall-cmd", "--list-all")) is not None:
        text = listed.decode("utf-8", "replace")
        zone = Firewall(udp=firewalld_fate(text, beacon), tcp=firewalld_fate(text, dial))
    return combined(manager, found, zone, hidden=commands.there("nft") or commands.there("iptables"))


def _has_old_rules(listed: bytes) -> bool:
    """Whether iptables has rules, in its own tables or in nftables'; asking it for nothing would make its tables."""
    with suppress(OSError):
        if "filter" in Path("/proc/self/net/ip_tables_names").read_text("ascii").split():
            return True
    return re.search(rb'"xt"|"table":\s*"filter"', listed) is not None


def combined(manager: FirewallTool, found: Sequence[Firewall], zone: Firewall | None, *, hidden: bool) -> Firewall:
    """One answer out of what each program said. Pure.

    `manager` is what a person talks to; `zone` is what firewalld says, for what its many rules leave open; `hidden`:
    there are programs that would not tell.
    """
    if not found and zone is None:
        return Firewall(tool=manager, on=True if manager else None if hidden else False)
    tool: FirewallTool = manager or next((one.tool for one in found if one.tool), "")
    udp, tcp = _worst([one.udp for one in found]), _worst([one.tcp for one in found])
    if zone is not None:
        udp, tcp = (zone.udp if udp == "unknown" else udp), (zone.tcp if tcp == "unknown" else tcp)
    place = next((one.place for one in found if one.place), "")
    return Firewall(tool=tool, on=bool(tool), udp=udp, tcp=tcp, place=place)


def _worst(verdicts: Sequence[Verdict]) -> Verdict:
    """One that drops is enough; all must accept."""
    if "drop" in verdicts:
        return "drop"
    return "accept" if verdicts and set(verdicts) == {"accept"} else "unknown"


def firewalld_fate(text: str, packet: Packet) -> Verdict:
    """What `firewall-cmd --list-all` says of a packet: the default zone's target and open ports. Pure."""
    fields = dict(re.findall(r"(?m)^[ \t]+([\w-]+): *(.*)$", text))
    if not fields:
        return "unknown"
    if fields.get("target", "").strip("% ") == "ACCEPT":
        return "accept"
    for span, protocol in re.findall(r"([\d-]+)/(\w+)", fields.get("ports", "")):
        low, _, high = span.partition("-")
        if protocol == packet.protocol and int(low) <= packet.port <= int(high or low):
            return "accept"
    rich = re.search(r"(?m)^[ \t]+rule\b", text)  # one a line, below their heading
    return "unknown" if rich else "drop"


def macos_firewall(said: bytes | None) -> Firewall:
    """What socketfilterfw says: it goes by program, so whether ours is let in cannot be told. Pure."""
    if said is None:
        return Firewall(tool="macos", on=None)
    return Firewall(tool="macos", on=b"enabled" in said.lower())


def windows_firewall(said: bytes | None) -> Firewall:
    """What netsh says of the present network's profile. Pure; other languages than English are not understood."""
    if said is None:
        return Firewall(tool="windows", on=None)
    off = re.search(rb"(?im)^state\s+off", said)
    return Firewall(tool="windows", on=False if off else True if re.search(rb"(?im)^state\s+on", said) else None)


def _ufw_on() -> bool:
    """Whether ufw is switched on; its file may be read by everybody, its rules by root alone."""
    try:
        return re.search(r"(?im)^\s*ENABLED\s*=\s*[\"']?yes", _UFW.read_text("utf-8", "replace")) is not None
    except OSError:
        return False
