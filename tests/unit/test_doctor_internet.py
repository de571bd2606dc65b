"""What the doctor says of relays, NATs, IPv6, port mapping and clocks, and with whom direct links can be made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sandpiper.config import Address, Settings
from sandpiper.faces.doctor.checks import CHECKS, NETWORK, judge
from sandpiper.faces.doctor.facts import (
    Air,
    Card,
    Cards,
    Facts,
    Firewall,
    HeardPeer,
    Internet,
    Offered,
    RelaySeen,
    RelayState,
    Router,
    Unasked,
)
from sandpiper.faces.doctor.findings import exit_code
from sandpiper.faces.doctor.judges.internet import judge_direct, judge_ipv6, judge_mapping, judge_nat
from sandpiper.faces.doctor.judges.peers import judge_clock
from sandpiper.faces.doctor.judges.relays import judge_relay
from tests.unit.test_doctor_judges import by_code, only

if TYPE_CHECKING:
    from sandpiper.wire.meeting import NatKind

LAN = Cards(cards=(Card(name="eth0", addresses=("192.168.1.5",)),), default=("eth0",))
OUTSIDE, OTHER = Address("11.0.0.7", 40_001), Address("11.0.0.7", 40_002)
NO = tuple(Offered(protocol=name, answers=False, text="The router does not answer.") for name in ("PCP", "UPnP"))
YES = (Offered(protocol="PCP"), Offered(protocol="UPnP", outside="11.0.0.7"))
SILENT = Router(host="192.168.1.1", unasked="", offers=NO)
MAPS = Router(host="192.168.1.1", unasked="", offers=YES)


def relay(nat: NatKind = "easy", **more: object) -> RelaySeen:
    settled: dict[str, object] = {
        "name": "relay.example",
        "round_ms": 81.0,
        "own": "192.168.1.5",
        "outside": OUTSIDE,
        "second": OUTSIDE if nat == "easy" else OTHER if nat == "hard" else None,
        "second_port": "ok" if nat in ("easy", "hard") else "untried",
        "nat": nat,
        "skew": 0.1,
    }
    return RelaySeen(**{**settled, **more})  # type: ignore[arg-type]


def failed(state: RelayState, text: str = "It failed.", name: str = "far.example", **more: object) -> RelaySeen:
    return RelaySeen(name=name, state=state, text=text, **more)  # type: ignore[arg-type]


def facts(*relays: RelaySeen, router: Router = SILENT, v6: tuple[str, ...] = (), **more: object) -> Facts:
    return Facts(cards=LAN, internet=Internet(relays=relays, v6=v6, router=router), **more)  # type: ignore[arg-type]


# ---------------------------------------------------------------- all of them


def test_home_behind_a_cone_has_no_complaint_and_one_finding_of_each():
    findings = judge(facts(relay(), settings=Settings(relay=("relay.example",))))
    names = [finding.check for finding in findings]
    assert names == [check.name for check in CHECKS]
    complaints = {(finding.check, finding.code) for finding in findings if finding.status != "ok"}
    assert complaints <= {("interfaces", "only_loopback"), ("multicast", "not_tried"), ("peers", "nobody")}


def test_every_complaint_says_why_and_how_to_mend_it():
    states: tuple[RelayState, ...] = ("address", "name", "unreachable", "proxy", "certificate", "stranger")
    several = [facts(failed(state, hint="Ask." if state == "certificate" else "")) for state in states]
    several += [facts(relay("hard")), facts(relay("unknown", proxy="proxy.example:3128")), facts(relay(skew=4000.0))]
    several += [facts(relay(v6="failed"), v6=("2a00::5",)), facts(relay(bridges=False))]
    beyond = ("relay", "nat", "ipv6", "mapping", "direct", "clock")
    for one in several:
        complaints = [finding for finding in judge(one) if finding.status != "ok" and finding.check in beyond]
        assert complaints, one
        for finding in complaints:
            assert finding.why, finding
            assert finding.fix, finding


def test_without_a_relay_nothing_but_that_is_said():
    alone = Facts(cards=LAN)
    finding = only(judge_relay(alone))
    assert (finding.status, finding.code) == ("ok", "none")
    assert "this network alone" in finding.seen
    assert "sandpiper config set relay HOST" in finding.fix[0]
    assert [*judge_nat(alone), *judge_ipv6(alone), *judge_mapping(alone), *judge_direct(alone)] == []


# ---------------------------------------------------------------- relay


def test_relays_that_answer_are_told_with_their_round_trip():
    finding = only(judge_relay(facts(relay(connect_ms=90.0), relay(name="b.example", proxy="proxy.example:3128"))))
    assert (finding.status, finding.code) == ("ok", "reached")
    assert finding.details[0] == "relay.example: round trip 81 ms, connected in 90 ms, clock +0.1 s"
    assert "through the proxy proxy.example:3128" in finding.details[1]


@pytest.mark.parametrize(
    ("state", "code", "fix"),
    [
        ("address", "bad_address", "config set relay"),
        ("name", "no_name", "config set relay"),
        ("unreachable", "unreachable", "wss://HOST"),
        ("proxy", "proxy_failed", "HTTPS_PROXY"),
        ("stranger", "not_a_relay", "log-in page"),
    ],
)
def test_relay_that_does_not_answer_fails_with_its_own_fix(state: RelayState, code: str, fix: str):
    alone = facts(failed(state, "It is so."))
    finding = only(judge_relay(alone))
    assert (finding.status, finding.code, finding.seen) == ("fail", code, "far.example: It is so.")
    assert any(fix in step for step in finding.fix)
    assert exit_code([finding], NETWORK) == 3
    both = by_code(judge_relay(facts(relay(), failed(state))))
    assert {found: finding.status for found, finding in both.items()} == {"reached": "ok", code: "warn"}


def test_relay_that_cannot_be_reached_without_a_way_out_is_not_to_blame():
    finding = only(judge_relay(Facts(cards=Cards(), internet=Internet(relays=(failed("unreachable"),)))))
    assert "no default route" in finding.why
    assert not any("sandpiper relay" in step for step in finding.fix)


def test_wrong_certificate_passes_on_what_to_ask():
    finding = only(judge_relay(facts(failed("certificate", hint="Ask its owner for the fingerprint."))))
    assert finding.fix == ("Ask its owner for the fingerprint.",)


def test_rendezvous_without_a_relay_is_a_warning():
    assert by_code(judge_relay(facts(relay(bridges=False))))["no_bridges"].status == "warn"


# ---------------------------------------------------------------- NAT, and what it means


@pytest.mark.parametrize(
    ("seen", "code", "reachable"),
    [
        (relay("none", outside=Address("11.0.0.7", 1), own="11.0.0.7"), "open", "everybody"),
        (relay("none", outside=Address("192.168.1.5", 1)), "same_network", "unknown"),
        (relay("easy"), "same", "most"),
        (relay("hard"), "different", "open_only"),
        (relay("unknown"), "not_told", "unknown"),
        (relay("unknown", tunnel=True), "not_told", "unknown"),
        (relay("unknown", proxy="proxy.example:3128"), "proxied", "relay_only"),
        (relay("unknown", second_port="failed", port=443), "second_blocked", "relay_only"),
        (relay("unknown", second_port="failed", port=8000), "second_blocked", "unknown"),
    ],
)
def test_kind_of_nat_tells_who_can_be_linked_directly(seen: RelaySeen, code: str, reachable: str):
    assert only(judge_nat(facts(seen))).code == code
    finding = only(judge_direct(facts(seen)))
    assert finding.code == reachable
    assert finding.status == ("warn" if reachable in ("open_only", "relay_only") else "ok")


def test_the_addresses_that_were_seen_are_shown():
    assert only(judge_nat(facts(relay("hard")))).details == (
        "relay.example sees 11.0.0.7:40001",
        "its second port sees 11.0.0.7:40002",
        "own address 192.168.1.5",
    )


def test_relay_that_tells_most_is_believed():
    assert only(judge_nat(facts(relay("unknown"), relay("hard", name="b.example")))).code == "different"


def test_router_that_maps_ports_makes_everybody_reach_us_through_any_nat():
    for seen in (relay("easy"), relay("hard"), relay("unknown")):
        assert only(judge_direct(facts(seen, router=MAPS))).code == "everybody"


def test_router_behind_another_nat_does_not():
    inner = Router(host="192.168.1.1", unasked="", offers=(Offered(protocol="UPnP", outside="100.64.0.9"),))
    one = facts(relay("hard"), router=inner)
    assert only(judge_mapping(one)).code == "behind_nat"
    assert only(judge_direct(one)).code == "open_only"


def test_own_firewall_that_drops_dials_makes_open_as_good_as_a_cone():
    drops = Firewall(tool="ufw", on=True, tcp="drop")
    seen = relay("none", outside=Address("11.0.0.7", 1), own="11.0.0.7")
    assert only(judge_direct(facts(seen, firewall=drops))).code == "most"
    assert only(judge_direct(facts(relay("hard"), router=MAPS, firewall=drops))).code == "open_only"


def test_symmetric_nat_names_the_router_and_what_to_switch_on():
    finding = only(judge_direct(facts(relay("hard"))))
    assert "192.168.1.1" in finding.fix[0]
    assert "PCP, NAT-PMP or UPnP" in finding.fix[0]
    off = only(judge_direct(facts(relay("hard"), router=Router(unasked="off"))))
    assert off.fix[0] == "sandpiper config set port_mapping auto"


def test_no_relay_that_answers_means_nobody_beyond():
    one = facts(failed("unreachable"))
    assert "nobody beyond this network" in only(judge_direct(one)).seen
    assert only(judge_nat(one)).code == "not_told"


# ---------------------------------------------------------------- IPv6


@pytest.mark.parametrize(
    ("v6", "fate", "code", "status"),
    [
        ((), "untried", "none", "ok"),
        (("2a00::5",), "untried", "untried", "ok"),
        (("2a00::5",), "ok", "reached", "ok"),
        (("2a00::5",), "failed", "blocked", "warn"),
    ],
)
def test_ipv6_is_told_by_whether_it_leads_to_the_relay(v6: tuple[str, ...], fate: str, code: str, status: str):
    finding = only(judge_ipv6(facts(relay(v6=fate), v6=v6)))
    assert (finding.code, finding.status) == (code, status)


def test_ipv6_that_works_is_another_way_to_those_who_have_it():
    assert "IPv6" in only(judge_direct(facts(relay("hard", v6="ok"), v6=("2a00::5",)))).seen
    assert "IPv6" not in only(judge_direct(facts(relay("hard")))).seen


# ---------------------------------------------------------------- port mapping


def test_port_mapping_is_told_with_each_protocol():
    finding = only(judge_mapping(facts(relay(), router=MAPS)))
    assert finding.code == "offered"
    assert finding.details == ("PCP: answers", "UPnP: answers, outside 11.0.0.7")
    finding = only(judge_mapping(facts(relay(), router=SILENT)))
    assert finding.code == "none"
    assert finding.details[0] == "PCP: The router does not answer."


@pytest.mark.parametrize("why", ["off", "no_route", "left_out", "public"])
def test_router_that_was_not_asked_is_told_why(why: Unasked):
    finding = only(judge_mapping(facts(relay(), router=Router(unasked=why, text="It is so."))))
    assert (finding.status, finding.code) == ("ok", why)
    assert finding.seen.endswith("It is so.")


# ---------------------------------------------------------------- clock


def test_clock_is_compared_with_the_relays():
    finding = only(judge_clock(facts(relay(skew=0.3))))
    assert (finding.code, finding.seen) == ("agree", "The relay's clock and this one agree within 0.3 s.")
    finding = only(judge_clock(facts(relay(skew=-7200.0))))
    assert (finding.status, finding.code) == ("warn", "skewed")
    assert finding.seen == "The clock of the relay relay.example is 2 hours behind this one."
    assert "midnight" in finding.why
    assert only(judge_clock(facts(relay(skew=None), failed("unreachable", skew=9999.0)))).code == "not_compared"


def test_relay_and_peers_that_agree_put_our_clock_in_the_wrong():
    heard = Air(peers=(HeardPeer(nick="bob", key="b0", skew=-5400.0),))
    finding = only(judge_clock(facts(relay(skew=-5401.0), air=heard)))
    assert finding.code == "own_clock"
    assert finding.seen == "All 2 peers and relays say that this machine's clock is 90 minutes ahead."
