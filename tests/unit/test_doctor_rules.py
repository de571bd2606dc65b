"""What the doctor reads out of the rules of firewalls."""

import json
from typing import Any

import pytest

from sandpiper.faces.doctor.facts import Firewall, Verdict
from sandpiper.faces.doctor.probes.firewall import combined, firewalld_fate, macos_firewall, windows_firewall
from sandpiper.faces.doctor.rules.iptables import iptables_fate
from sandpiper.faces.doctor.rules.nftables import nft_fate
from sandpiper.faces.doctor.rules.walk import Packet

BEACON = Packet(protocol="udp", port=9999, to="224.0.0.1", interface="eth0")
DIAL = Packet(protocol="tcp", port=8080, to="192.168.1.5", interface="eth0")

# ---------------------------------------------------------------- iptables


def table(*rules: str, policy: str = "ACCEPT") -> str:
    return "\n".join((f"-P INPUT {policy}", "-P FORWARD DROP", "-P OUTPUT ACCEPT", *rules))


def fates(text: str) -> tuple[Verdict, Verdict]:
    return iptables_fate(text, BEACON), iptables_fate(text, DIAL)


@pytest.mark.parametrize(
    ("rules", "policy", "beacon", "dial"),
    [
        ([], "ACCEPT", "accept", "accept"),
        ([], "DROP", "drop", "drop"),
        (["-A INPUT -j DROP"], "ACCEPT", "drop", "drop"),
        (["-A INPUT -p tcp -j REJECT --reject-with tcp-reset"], "ACCEPT", "accept", "drop"),
        (["-A INPUT ! -p tcp -j DROP"], "ACCEPT", "drop", "accept"),
        (["-A INPUT -i lo -j ACCEPT"], "DROP", "drop", "drop"),
        (["-A INPUT -i eth+ -j ACCEPT"], "DROP", "accept", "accept"),
        (["-A INPUT ! -i eth0 -j DROP"], "ACCEPT", "accept", "accept"),
        (["-A INPUT -p tcp -m tcp --dport 8080:8999 -j ACCEPT"], "DROP", "drop", "accept"),
        (["-A INPUT -p tcp -m multiport --dports 22,80,8000:8100 -j ACCEPT"], "DROP", "drop", "accept"),
        (["-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT"], "DROP", "drop", "drop"),
        (["-A INPUT -p udp -d 224.0.0.0/4 -j ACCEPT"], "DROP", "accept", "drop"),
        (["-A INPUT -m addrtype --dst-type MULTICAST -j DROP"], "ACCEPT", "drop", "accept"),
        (["-A INPUT -m pkttype --pkt-type multicast -j DROP"], "ACCEPT", "drop", "accept"),
        (["-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"], "DROP", "drop", "drop"),
        (["-A INPUT -m state --state NEW -j ACCEPT"], "DROP", "accept", "accept"),
        (["-A INPUT -s 10.0.0.0/8 -j ACCEPT"], "DROP", "unknown", "unknown"),
        (["-A INPUT -s 10.0.0.0/8 -j DROP"], "DROP", "drop", "drop"),
        (["-A INPUT -p udp -m limit --limit 3/min -j ACCEPT", "-A INPUT -j DROP"], "ACCEPT", "unknown", "drop"),
        (["-A INPUT -j LOG --log-prefix '[ -j DROP ] '"], "ACCEPT", "accept", "accept"),
        (["-A INPUT -m comment --comment 'let it -j DROP' -j ACCEPT"], "DROP", "accept", "accept"),
        (["-A INPUT -j mine", "-A mine -p udp -j RETURN", "-A mine -j DROP"], "ACCEPT", "accept", "drop"),
        (["-A INPUT -g mine", "-A INPUT -j DROP", "-A mine -p tcp -j DROP"], "ACCEPT", "accept", "drop"),
        (["-A INPUT -j mine", "-A INPUT -j DROP"], "ACCEPT", "drop", "drop"),
        (["-A INPUT -s 10.0.0.0/8 -j mine", "-A mine -j DROP"], "ACCEPT", "unknown", "unknown"),
        (["-A INPUT -j mine", "-A mine -j mine"], "ACCEPT", "unknown", "unknown"),
        (["-A INPUT -p tcp --dport nonsense -j DROP"], "ACCEPT", "accept", "unknown"),
        (["-A INPUT -j DROP --comment 'never closed"], "ACCEPT", "unknown", "unknown"),
    ],
)
def test_iptables(rules: list[str], policy: str, beacon: Verdict, dial: Verdict):
    assert fates(table(*rules, policy=policy)) == (beacon, dial)


UFW = """
-P INPUT DROP
-N ufw-before-input
-N ufw-user-input
-N ufw-skip-to-policy-input
-N ufw-after-input
-A INPUT -j ufw-before-logging-input
-A INPUT -j ufw-before-input
-A INPUT -j ufw-after-input
-A ufw-before-input -i lo -j ACCEPT
-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A ufw-before-input -m conntrack --ctstate INVALID -j DROP
-A ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT
-A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT
-A ufw-before-input -j ufw-not-local
-A ufw-before-input -d 224.0.0.251/32 -p udp -m udp --dport 5353 -j ACCEPT
-A ufw-before-input -j ufw-user-input
-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
-A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN
-A ufw-not-local -m addrtype --dst-type BROADCAST -j RETURN
-A ufw-not-local -m limit --limit 3/min --limit-burst 10 -j ufw-logging-deny
-A ufw-not-local -j DROP
-A ufw-after-input -p udp -m udp --dport 137 -j ufw-skip-to-policy-input
"""


def test_ufw_as_it_is_set_up_drops_and_its_own_rules_let_in():
    assert fates(UFW) == ("drop", "drop")
    allowed = (
        "-A ufw-user-input -p udp -m udp --dport 9999 -j ACCEPT\n"
        "-A ufw-user-input -p tcp -m multiport --dports 8080:8999 -j ACCEPT\n"
    )
    assert fates(UFW + allowed) == ("accept", "accept")


# ---------------------------------------------------------------- nftables


def ruleset(*rules: list[Any], policy: str = "accept", more: list[dict[str, Any]] | None = None) -> bytes:
    place = {"family": "inet", "table": "filter"}
    base = {"chain": {**place, "name": "input", "type": "filter", "hook": "input", "prio": 0, "policy": policy}}
    lines = [{"rule": {**place, "chain": "input", "expr": expr}} for expr in rules]
    return json.dumps({"nftables": [{"metainfo": {}}, base, *lines, *(more or [])]}).encode()


def nft(raw: bytes) -> tuple[Verdict, Verdict]:
    return nft_fate(raw, BEACON)[0], nft_fate(raw, DIAL)[0]


def match(left: Any, right: Any, op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": left, "right": right}}


def meta(key: str) -> dict[str, Any]:
    return {"meta": {"key": key}}


def payload(protocol: str, field: str) -> dict[str, Any]:
    return {"payload": {"protocol": protocol, "field": field}}


STATE = {"ct": {"key": "state"}}
LOCAL = {"fib": {"result": "type", "flags": ["daddr"]}}
GROUPS = {"prefix": {"addr": "224.0.0.0", "len": 4}}
ACCEPT, DROP, REJECT = {"accept": None}, {"drop": None}, {"reject": {"type": "tcp reset"}}
BY_STATE = {"set": [["established", ACCEPT], ["new", DROP]]}


@pytest.mark.parametrize(
    ("rules", "policy", "beacon", "dial"),
    [
        ([], "accept", "accept", "accept"),
        ([], "drop", "drop", "drop"),
        ([[{"counter": {"packets": 0, "bytes": 0}}, REJECT]], "accept", "drop", "drop"),
        ([[match(meta("iif"), "lo"), ACCEPT]], "drop", "drop", "drop"),
        ([[match(meta("iifname"), "eth*"), ACCEPT]], "drop", "accept", "accept"),
        ([[match(meta("iifname"), {"set": ["eth0", "eth1"]}), ACCEPT]], "drop", "accept", "accept"),
        ([[match(meta("l4proto"), "tcp"), DROP]], "accept", "accept", "drop"),
        ([[match(payload("ip", "protocol"), "udp"), DROP]], "accept", "drop", "accept"),
        ([[match(meta("l4proto"), {"set": ["tcp", "udp"]}), DROP]], "accept", "drop", "drop"),
        ([[match(meta("nfproto"), "ipv6"), DROP]], "accept", "accept", "accept"),
        ([[match(meta("pkttype"), "multicast"), DROP]], "accept", "drop", "accept"),
        ([[match(meta("mark"), 1), DROP]], "accept", "unknown", "unknown"),
        ([[match(payload("udp", "dport"), 9999), ACCEPT]], "drop", "accept", "drop"),
        ([[match(payload("tcp", "dport"), {"range": [8080, 8999]}), ACCEPT]], "drop", "drop", "accept"),
        ([[match(payload("tcp", "dport"), {"set": [22, {"range": [8000, 8100]}]}), ACCEPT]], "drop", "drop", "accept"),
        ([[match(payload("tcp", "dport"), 22, "!="), DROP]], "accept", "accept", "drop"),
        ([[match(payload("tcp", "dport"), "@mine"), DROP]], "accept", "accept", "unknown"),
        ([[match(payload("tcp", "dport"), 8000, ">="), DROP]], "accept", "unknown", "unknown"),
        ([[match(payload("tcp", "sport"), 22), DROP]], "accept", "accept", "unknown"),
        ([[match(payload("th", "dport"), 9999), DROP]], "accept", "drop", "accept"),
        ([[match(payload("icmp", "type"), "echo-request"), ACCEPT]], "drop", "drop", "drop"),
        ([[match(payload("ip6", "daddr"), "ff02::1"), ACCEPT]], "drop", "drop", "drop"),
        ([[match(payload("ip", "daddr"), GROUPS), DROP]], "accept", "drop", "accept"),
        ([[match(payload("ip", "daddr"), {"range": ["224.0.0.0", "224.0.0.9"]}), DROP]], "accept", "drop", "accept"),
        ([[match(payload("ip", "daddr"), "192.168.1.5"), DROP]], "accept", "accept", "drop"),
        ([[match(payload("ip", "saddr"), "10.0.0.1"), ACCEPT]], "drop", "unknown", "unknown"),
        ([[match(STATE, ["established", "related"], "in"), ACCEPT]], "drop", "drop", "drop"),
        ([[match(STATE, ["new"], "in"), ACCEPT]], "drop", "accept", "accept"),
        ([[match(LOCAL, "local"), DROP]], "accept", "accept", "drop"),
        ([[{"limit": {"rate": 3, "per": "minute"}}, ACCEPT]], "drop", "unknown", "unknown"),
        ([[{"xt": {"type": "match", "name": "recent"}}, DROP]], "accept", "unknown", "unknown"),
        ([[{"vmap": {"key": STATE, "data": BY_STATE}}]], "accept", "drop", "drop"),
        ([[{"vmap": {"key": STATE, "data": "@states"}}]], "accept", "unknown", "unknown"),
        ([[match(meta("l4proto"), "tcp"), {"vmap": {"key": payload("tcp", "dport"), "data": {"set": [[8080, DROP]]}}}]],
         "accept", "accept", "drop"),
    ],
)  # fmt: skip
def test_nftables(rules: list[list[Any]], policy: str, beacon: Verdict, dial: Verdict):
    assert nft(ruleset(*rules, policy=policy)) == (beacon, dial)


def test_nftables_follows_jumps_and_names_the_chain_that_drops():
    place = {"family": "inet", "table": "filter"}
    other: list[dict[str, Any]] = [
        {"chain": {**place, "name": "more"}},
        {"rule": {**place, "chain": "more", "expr": [match(meta("l4proto"), "udp"), {"return": None}]}},
        {"rule": {**place, "chain": "more", "expr": [DROP]}},
    ]
    raw = ruleset([{"jump": {"target": "more"}}], more=other)
    assert nft(raw) == ("accept", "drop")
    assert nft_fate(raw, DIAL)[1] == "inet filter input"
    assert nft_fate(raw, BEACON)[1] == ""


def test_nftables_asks_every_base_chain_of_the_way():
    late = {"family": "ip", "table": "late"}
    second: list[dict[str, Any]] = [
        {"chain": {**late, "name": "in", "type": "filter", "hook": "input", "prio": 10, "policy": "drop"}},
        {"chain": {**late, "name": "out", "type": "filter", "hook": "output", "prio": 0, "policy": "drop"}},
    ]
    assert nft_fate(ruleset([ACCEPT], more=second), DIAL) == ("drop", "ip late in")
    six = [{"chain": {**late, "family": "ip6", "name": "in", "type": "filter", "hook": "input", "policy": "drop"}}]
    assert nft(ruleset(more=six)) == ("accept", "accept")


@pytest.mark.parametrize("raw", [b"", b"\xff", b"[]", b"{}", b'{"nftables": 3}', b'{"nftables": [1, {"rule": 2}]}'])
def test_nftables_output_that_is_none_says_nothing_false(raw: bytes):
    assert nft_fate(raw, DIAL)[0] != "drop"


@pytest.mark.parametrize("expr", [None, 3, [3], [{}], [{"match": 3}], [{"match": {"op": "=="}}, DROP], [{"vmap": []}]])
def test_nftables_rule_of_another_shape_is_no_verdict(expr: Any):
    assert "drop" not in nft(ruleset(expr))


# ---------------------------------------------------------------- those that manage them


ZONE = """public (active)
  target: {target}
  interfaces: eth0
  services: dhcpv6-client mdns ssh
  ports: {ports}
  rich rules: {rich}
"""
RICH = '\n\trule family="ipv4" port port="9999" protocol="udp" accept'


@pytest.mark.parametrize(
    ("target", "ports", "rich", "beacon", "dial"),
    [
        ("default", "", "", "drop", "drop"),
        ("default", "9999/udp 8080-8999/tcp", "", "accept", "accept"),
        ("default", "9999/tcp 8080/udp", "", "drop", "drop"),
        ("ACCEPT", "", "", "accept", "accept"),
        ("default", "", RICH, "unknown", "unknown"),
    ],
)
def test_firewalld(target: str, ports: str, rich: str, beacon: Verdict, dial: Verdict):
    text = ZONE.format(target=target, ports=ports, rich=rich)
    assert (firewalld_fate(text, BEACON), firewalld_fate(text, DIAL)) == (beacon, dial)


def test_firewalld_that_says_nothing_is_unknown():
    assert firewalld_fate("", DIAL) == "unknown"


def test_macos_and_windows_say_whether_they_are_on():
    assert macos_firewall(b"Firewall is enabled. (State = 1)").on is True
    assert macos_firewall(b"Firewall is disabled. (State = 0)").on is False
    assert macos_firewall(None).on is None
    assert windows_firewall(b"Public Profile Settings:\r\n------\r\nState          ON\r\nOk.\r\n").on is True
    assert windows_firewall(b"Private Profile Settings:\r\n------\r\nState          OFF\r\nOk.\r\n").on is False
    assert windows_firewall(b"Status          EIN\r\n").on is None
    assert windows_firewall(None).on is None


def test_answers_of_several_programs_become_one():
    nftables = Firewall(tool="nftables", udp="drop", tcp="accept", place="inet a b")
    iptables = Firewall(tool="", udp="accept", tcp="accept")
    found = combined("", [nftables, iptables], None, hidden=True)
    assert found == Firewall(tool="nftables", on=True, udp="drop", tcp="accept", place="inet a b")
    assert combined("ufw", [nftables, iptables], None, hidden=True).tool == "ufw"
    unclear = Firewall(tool="nftables", udp="unknown", tcp="accept")
    assert combined("", [unclear, iptables], None, hidden=True).udp == "unknown"
    zone = Firewall(udp="accept", tcp="drop")
    found = combined("firewalld", [unclear], zone, hidden=True)
    assert (found.udp, found.tcp) == ("accept", "accept")


def test_nothing_found_is_told_from_nothing_shown():
    assert combined("", [], None, hidden=False) == Firewall(on=False)
    assert combined("", [], None, hidden=True) == Firewall(on=None)
    assert combined("ufw", [], None, hidden=True) == Firewall(tool="ufw", on=True)
    assert combined("", [Firewall(udp="accept", tcp="accept")], None, hidden=True).on is False
