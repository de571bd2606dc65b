"""Judges the relays of the settings: which of them answer, and what keeps us from the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.faces.doctor.findings import Finding, Status

if TYPE_CHECKING:
    from sandpiper.faces.doctor.facts import Facts, RelaySeen, RelayState

CHECK = "relay"
WHY = "Private rooms meet through it with members who are not on this network."
ON_443 = (
    "Where only web pages can be reached: a relay on port 443, as --relay wss://HOST,"
    " and the proxy in HTTPS_PROXY=http://HOST:PORT"
)

_CODES: dict[RelayState, str] = {
    "address": "bad_address",
    "name": "no_name",
    "unreachable": "unreachable",
    "proxy": "proxy_failed",
    "certificate": "bad_certificate",
    "stranger": "not_a_relay",
}


def judge_relay(facts: Facts) -> list[Finding]:
    """One finding for all that answer, one for each that does not, and one where none is named."""
    relays = facts.internet.relays
    if not relays:
        return [
            Finding(
                check=CHECK,
                status="ok",
                code="none",
                seen="No relay is named: private rooms meet on this network alone. Nothing beyond it was looked at.",
                why="Only to meet people elsewhere:",
                fix=("sandpiper config set relay HOST   (a machine that all can reach runs: sandpiper relay)",),
            )
        ]
    reached = facts.internet.reached
    failed = [relay for relay in relays if relay.state != "ok"]
    found = [_reached(reached)] if reached else []
    found += [_failed(facts, relay, "warn" if reached else "fail") for relay in failed]
    idle = [relay.name for relay in reached if not relay.bridges]
    if idle:
        found.append(
            Finding(
                check=CHECK,
                status="warn",
                code="no_bridges",
                seen=f"{', '.join(idle)} introduces members, and passes nothing on.",
                why="Those whom you cannot reach directly you do not reach at all.",
                fix=("Ask its owner for the role relay: sandpiper serve --roles rendezvous,relay",),
            )
        )
    return found


def _reached(relays: tuple[RelaySeen, ...]) -> Finding:
    names = ", ".join(relay.name for relay in relays)
    return Finding(
        check=CHECK,
        status="ok",
        code="reached",
        seen=f"{names} {'answers' if len(relays) == 1 else 'answer'}.",
        details=tuple(_line(relay) for relay in relays),
    )


def _line(relay: RelaySeen) -> str:
    words = [f"round trip {relay.round_ms:.0f} ms", f"connected in {relay.connect_ms:.0f} ms"]
    if relay.proxy:
        words.append(f"through the proxy {relay.proxy}")
    if relay.tunnel:
        words.append("behind a tunnel of its own")
    if relay.skew is not None:
        words.append(f"clock {round(relay.skew, 1) + 0.0:+.1f} s")  # adding zero takes the sign off a zero
    return f"{relay.name}: {', '.join(words)}"


def _failed(facts: Facts, relay: RelaySeen, status: Status) -> Finding:
    fix = [relay.hint] if relay.hint else []
    why = WHY
    match relay.state:
        case "address" | "name":
            fix.append("Correct it: sandpiper config set relay HOST   (or --relay, SANDPIPER_RELAY)")
        case "unreachable":
            if not facts.cards.default:
                why += " This machine has no default route: it has no way out of its own network."
                fix.append("Connect to a network that leads to the internet, and run this again.")
            else:
                why += " Either it does not run, or a firewall in between drops the way to its port."
                fix += [f"Ask its owner whether it runs: sandpiper relay on {relay.name}", ON_443]
        case "proxy":
            fix.append("Correct HTTPS_PROXY or ALL_PROXY, or leave this host out of it with NO_PROXY.")
            fix.append("Most proxies let only port 443 through: --relay wss://HOST")
        case "certificate":
            why += " With a wrong certificate somebody else may be in between, so it is not used."
        case "stranger":
            why += " What answers there does not speak as a relay: another program, or a page of this network's owner."
            fix.append("Check host and port; where a log-in page stands before the internet, log in with a browser.")
        case "ok":
            pass
    return Finding(
        check=CHECK,
        status=status,
        code=_CODES.get(relay.state, relay.state),
        seen=f"{relay.name}: {relay.text}",
        details=(f"through the proxy {relay.proxy}",) if relay.proxy else (),
        why=why,
        fix=tuple(fix),
    )
