"""The commands that mend what the doctor finds, for each system. Pure: nothing here runs them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandpiper.faces.doctor.facts import Facts, FirewallTool, System

TCP_RANGE = (8080, 8999)  # what sandpiper listens on when no port is given


def tcp_ports(facts: Facts) -> tuple[int, int]:
    """The ports that others dial here: first and last."""
    port = facts.settings.port
    return (port, port) if port else TCP_RANGE


def let_in(facts: Facts, *, tcp: bool = False, udp: bool = False, out: bool = False) -> tuple[str, ...]:
    """Let sandpiper through this machine's own firewall: incoming, or outgoing with `out`."""
    first, last = tcp_ports(facts)
    tool = facts.firewall.tool or {"macos": "macos", "windows": "windows"}.get(facts.system, "")
    where = facts.firewall.place or f"inet filter {'output' if out else 'input'}"
    if out:
        where = f"{where.rpartition(' ')[0]} output"
    rules = [("udp", (port, port)) for port in (facts.settings.multicast.port,) if udp]
    rules += [("tcp", (first, last))] if tcp else []
    lines: list[str] = []
    for protocol, (low, high) in rules:
        span = str(low) if low == high else f"{low}-{high}"
        colon = span.replace("-", ":")
        match tool:
            case "ufw":
                lines.append(f"sudo ufw allow {'out ' if out else ''}{colon}/{protocol}")
            case "firewalld" if not out:
                lines.append(f"sudo firewall-cmd --permanent --add-port={span}/{protocol}")
            case "nftables" | "firewalld":
                lines.append(f"sudo nft insert rule {where} {protocol} dport {span} accept")
            case "iptables":
                chain = "OUTPUT" if out else "INPUT"
                lines.append(f"sudo iptables -I {chain} -p {protocol} --dport {colon} -j ACCEPT")
                lines.append(f"sudo ip6tables -I {chain} -p {protocol} --dport {colon} -j ACCEPT")
            case "windows":
                lines.append(_windows(protocol, span, out=out))
            case "macos":
                lines = _macos(facts.program)
            case _:
                lines += [f"Allow {'outgoing' if out else 'incoming'} {protocol.upper()} {span} in the firewall."]
    if tool == "firewalld" and not out and lines:
        lines.append("sudo firewall-cmd --reload")
    return tuple(lines)


def let_in_there(port: int) -> tuple[str, ...]:
    """Let a peer's port through the firewall of *its* machine, whatever that runs."""
    first, last = TCP_RANGE if TCP_RANGE[0] <= port <= TCP_RANGE[1] else (port, port)
    span = str(first) if first == last else f"{first}-{last}"
    return (
        f"ufw: sudo ufw allow {span.replace('-', ':')}/tcp",
        f"firewalld: sudo firewall-cmd --permanent --add-port={span}/tcp && sudo firewall-cmd --reload",
        f"nftables: sudo nft insert rule inet filter input tcp dport {span} accept",
        f"Windows (PowerShell as administrator): {_windows('tcp', span)}",
        "macOS: System Settings, Network, Firewall, Options: allow incoming connections for Python",
    )


def _windows(protocol: str, span: str, *, out: bool = False) -> str:
    way, port = ("Outbound", "RemotePort") if out else ("Inbound", "LocalPort")
    return (
        f"New-NetFirewallRule -DisplayName 'Sandpiper {protocol}' -Direction {way} -Action Allow"
        f" -Protocol {protocol.upper()} -{port} {span}"
    )


def _macos(program: str) -> list[str]:
    tool, python = "sudo /usr/libexec/ApplicationFirewall/socketfilterfw", shlex.quote(program)
    return [f"{tool} --add {python}", f"{tool} --unblockapp {python}"]


def who_listens(system: System, port: int, *, udp: bool = False) -> str:
    """The command that tells which program holds a port."""
    match system:
        case "linux":
            return f"sudo ss -{'u' if udp else 't'}lpn 'sport = :{port}'"
        case "windows":
            return f"netstat -ano {'-p UDP' if udp else '-p TCP'} | findstr :{port}"
        case "macos" | "other":
            return f"sudo lsof -nP -i{'UDP' if udp else 'TCP'}:{port}"


def set_clock(system: System) -> str:
    """The command that sets this machine's clock from the network's time."""
    match system:
        case "linux":
            return "sudo timedatectl set-ntp true"
        case "macos":
            return "sudo sntp -sS time.apple.com"
        case "windows":
            return "w32tm /resync   (as administrator)"
        case "other":
            return "Set the clock, for example: sudo date"


def show_network(system: System) -> str:
    """The command that shows the interfaces and their state."""
    return {"linux": "ip -br address", "windows": "ipconfig"}.get(system, "ifconfig")


def private(system: System, path: str, mode: int) -> str:
    """Make a file or directory readable by its owner alone."""
    if system == "windows":
        return f'icacls "{path}" /inheritance:r /grant:r "%USERNAME%:F"'
    return f"chmod {mode:o} {quoted(system, path)}"


def own(system: System, path: str) -> str:
    """Make a directory, with all in it, belong to the person again."""
    if system == "windows":
        return f'takeown /f "{path}" /r'
    return f'sudo chown -R "$(id -un)" {quoted(system, path)}'


def quoted(system: System, path: str) -> str:
    """A path as this system's shell takes it."""
    return f'"{path}"' if system == "windows" else shlex.quote(path)


def tools_named(tool: FirewallTool) -> str:
    """What a person calls it."""
    return {"": "firewall", "macos": "macOS firewall", "windows": "Windows firewall"}.get(tool, tool)
