"""Keys and what they own, and what operators may do."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import msgspec
import pytest
from typing_extensions import override

from sandpiper.crypto.identity import Identity
from sandpiper.hub import guests, operators
from sandpiper.hub.history import MemoryHistory
from sandpiper.hub.limits import MAX_NICKS_A_KEY, MAX_STRIKES, NICKS_OWNED
from tests.unit.parlour import SETTINGS, Parlour, Visitor

if TYPE_CHECKING:
    from sandpiper.wire.ids import PeerKey

ALICE, BOB, ROOT = (Identity(bytes([n]) * 32) for n in (1, 2, 3))
HUB = bytes(range(32))
OWNED = msgspec.structs.replace(SETTINGS, operators=frozenset({ROOT.key}), id=HUB)


def text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def prove(visitor: Visitor, identity: Identity, hub: bytes = HUB) -> list[dict[str, object]]:
    (challenge,) = visitor.ask("auth", key=text(identity.key))
    nonce = base64.b64decode(challenge["nonce"])
    assert len(nonce) == 32
    signature = identity.sign(b"sandpiper hub auth 1\x00" + hub + nonce)
    return visitor.ask("auth", key=text(identity.key), signature=text(signature))


def people(parlour: Parlour) -> tuple[Visitor, Visitor, Visitor]:
    """The operator of the room dev, a member of it, and an operator of the hub."""
    alice, bob = parlour.visitor("alice", "192.0.2.1", "dev"), parlour.visitor("bob", "192.0.2.2", "dev")
    root = parlour.visitor("root", "", "lobby")
    prove(root, ROOT)
    parlour.wait(1)
    return alice, bob, root


# ---------------------------------------------------------------- keys


def test_a_nick_that_a_key_owns_is_nobody_elses_also_after_a_restart():
    first = Parlour(OWNED)
    alice = first.visitor("alice")
    assert prove(alice, ALICE)[0]["nicks"] == ["alice"]
    alice.ask("nick", nick="ally")
    alice.leave()
    second = Parlour(OWNED, first.history)
    for nick in ("alice", "ALLY"):
        assert second.visitor(nick).errors == ["nick_taken"]
    alice = second.visitor()
    prove(alice, ALICE)
    assert alice.ask("nick", nick="alice")[0]["nick"] == "alice"


def test_of_too_many_nicks_the_ones_that_were_taken_first_are_free_again(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(guests, "MAX_OWNED_NICKS", 3)
    parlour = Parlour(OWNED)
    alice = parlour.visitor()
    prove(alice, ALICE)
    for n in range(4):
        alice.ask("nick", nick=f"alice{n}")
    house = parlour.house
    assert [house.guests.owner(f"alice{n}") for n in range(4)] == [None, ALICE.key, ALICE.key, ALICE.key]
    assert house.guests.owned(ALICE.key) == ("alice1", "alice2", "alice3")


def test_a_nick_that_is_in_use_is_not_the_one_that_goes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(guests, "MAX_OWNED_NICKS", 3)
    parlour = Parlour(OWNED)
    alice = parlour.visitor("alice")
    prove(alice, ALICE)
    alice.leave()
    for n, day in enumerate((0, 0, 1)):
        parlour.wait(day * 86_400)
        other = parlour.visitor(f"other{n}")
        prove(other, Identity(bytes([20 + n]) * 32))
        assert parlour.house.guests.owner("alice") == ALICE.key
        alice = parlour.visitor()
        prove(alice, ALICE)
        alice.ask("nick", nick="alice")
        alice.leave()
    another = parlour.visitor("another")
    prove(another, BOB)
    assert parlour.house.guests.owner("alice") == ALICE.key
    assert parlour.house.guests.owner("other0") is None
    nicks = [nick for nick, _ in parlour.history.load().nicks]
    assert nicks.index("alice") > nicks.index("other1"), "the history knows that it was used"


def test_from_one_address_few_nicks_become_somebodys():
    parlour = Parlour(OWNED)

    def owns(n: int, address: str) -> bool:
        guest = parlour.visitor(f"guest{n}", address)
        prove(guest, Identity(n.to_bytes(32, "big")))
        return parlour.house.guests.owner(f"guest{n}") is not None

    burst = int(NICKS_OWNED.burst)
    assert [owns(n, "192.0.2.1") for n in range(1, burst + 3)] == [True] * burst + [False] * 2
    assert owns(1000, "192.0.2.2")
    parlour.wait(1 / NICKS_OWNED.rate)
    assert owns(1001, "192.0.2.1")


def test_a_key_owns_a_few_nicks_and_no_anonymous_ones():
    parlour = Parlour(OWNED)
    alice = parlour.visitor()
    prove(alice, ALICE)
    for n in range(MAX_NICKS_A_KEY + 2):
        alice.ask("nick", nick=f"alice{n}")
    assert parlour.house.guests.owned(ALICE.key) == tuple(f"alice{n}" for n in range(MAX_NICKS_A_KEY))


def test_whoever_comes_in_anew_takes_its_nick_from_its_ghost():
    parlour = Parlour(OWNED)
    ghost = parlour.visitor("alice")
    prove(ghost, ALICE)
    alice = parlour.visitor()
    prove(alice, ALICE)
    assert alice.ask("nick", nick="alice")[-1]["nick"] == "alice"
    assert ghost.cut == "replaced"


@pytest.mark.parametrize("how", ["other key", "other hub", "no challenge", "twice"])
def test_a_wrong_signature_proves_nothing(how: str):
    parlour = Parlour(OWNED)
    bob = parlour.visitor("bob")
    if how == "other hub":
        answer = prove(bob, ALICE, bytes(32))
    elif how == "no challenge":
        answer = bob.ask("auth", key=text(ALICE.key), signature=text(bytes(64)))
    elif how == "twice":
        (challenge,) = bob.ask("auth", key=text(BOB.key))
        signed = b"sandpiper hub auth 1\x00" + HUB + base64.b64decode(challenge["nonce"])
        bob.ask("auth", key=text(BOB.key), signature=text(BOB.sign(signed)))
        answer = bob.ask("auth", key=text(ALICE.key), signature=text(ALICE.sign(signed)))
    else:
        (challenge,) = bob.ask("auth", key=text(ALICE.key))
        signed = b"sandpiper hub auth 1\x00" + HUB + base64.b64decode(challenge["nonce"])
        answer = bob.ask("auth", key=text(ALICE.key), signature=text(BOB.sign(signed)))
    assert answer[0]["code"] == "bad_signature"
    assert bob.guest.key != ALICE.key
    assert bob.guest.strikes == 1


def test_guessing_signatures_ends_the_connection():
    parlour = Parlour(OWNED)
    bob = parlour.visitor("bob")
    for _ in range(MAX_STRIKES):
        bob.ask("auth", key=text(ALICE.key), signature=text(bytes(64)))
    assert bob.cut == "too_many_errors"


# ---------------------------------------------------------------- operators


def test_who_makes_a_room_rules_it_and_others_do_not():
    parlour = Parlour(OWNED)
    alice, bob, _ = people(parlour)
    assert alice.got("joined")[0]["operator"] is True
    for kind, fields in (
        ("kick", {"nick": "alice"}), ("ban", {"nick": "alice"}), ("mute", {"nick": "alice"}), ("close", {}),
        ("slowmode", {"seconds": 5}), ("topic", {"text": "x"}), ("op", {"nick": "bob"}),
        ("kick", {"nick": "alice", "hub": True}), ("ban", {"nick": "alice", "hub": True}),
    ):  # fmt: skip
        assert bob.ask(kind, room="dev", **fields)[0]["code"] == "not_operator", kind
    alice.ask("op", room="dev", nick="bob")
    bob.ask("topic", room="dev", text="birds")
    assert alice.got("topic")[-1]["text"] == "birds"
    alice.ask("op", room="dev", nick="bob", on=False)
    assert bob.ask("topic", room="dev", text="bees")[0]["code"] == "not_operator"


def test_an_operator_with_a_key_is_one_again_when_it_comes_back():
    first = Parlour(OWNED)
    alice = first.visitor("alice", "", "lobby")
    prove(alice, ALICE)
    alice.ask("join", room="dev")
    alice.leave()
    second = Parlour(OWNED, first.history)
    bob, alice = second.visitor("bob", "", "dev"), second.visitor("alice2", "", "lobby")
    prove(alice, ALICE)
    assert "operator" not in bob.got("joined")[-1]
    assert alice.ask("join", room="dev")[0]["operator"] is True


def test_whoever_is_put_out_is_told_and_may_come_back():
    parlour = Parlour(OWNED)
    alice, bob, _ = people(parlour)
    alice.ask("kick", room="dev", nick="BOB", reason="noise")
    assert bob.got("left")[-1] == {
        "type": "left", "room": "dev", "code": "kicked", "text": "alice has put you out of dev: noise",
    }  # fmt: skip
    assert alice.notices[-1] == "bob was put out by alice: noise"
    alice.say("x", "dev")
    assert bob.texts == []
    assert bob.ask("join", room="dev")[0]["type"] == "joined"
    assert alice.ask("kick", room="dev", nick="nobody")[0]["code"] == "nobody"


def test_a_founding_guest_that_is_put_out_can_read_why():
    parlour = Parlour(OWNED)
    _, _, root = people(parlour)
    carol = parlour.visitor("carol")
    root.ask("kick", nick="carol")
    assert carol.notices[-1] == "root has put you out of lobby"


def test_whoever_is_banned_stays_out_under_any_nick_until_it_is_over():
    parlour = Parlour(OWNED)
    alice, bob, _ = people(parlour)
    alice.ask("ban", room="dev", nick="bob", seconds=60)
    assert bob.got("left")[-1]["code"] == "banned"
    bob.ask("nick", nick="robert")
    assert bob.ask("join", room="dev")[0]["code"] == "banned"
    again = parlour.visitor("rob", "192.0.2.2", "dev")
    assert again.errors == ["banned"]
    parlour.wait(60)
    assert again.ask("join", room="dev")[0]["type"] == "joined"
    alice.ask("ban", room="dev", nick="rob")
    alice.ask("ban", room="dev", nick="rob", on=False)
    assert again.ask("join", room="dev")[0]["type"] == "joined"


def test_who_is_away_is_banned_by_the_key_that_owns_the_nick():
    parlour = Parlour(OWNED)
    alice, bob, _ = people(parlour)
    prove(bob, BOB)
    bob.leave()
    alice.ask("ban", room="dev", nick="bob")
    again = parlour.visitor("robert", "192.0.2.9", "lobby")
    prove(again, BOB)
    assert again.ask("join", room="dev")[0]["code"] == "banned"


def test_a_room_has_only_so_many_operators(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(operators, "MAX_OPERATORS", 2)
    parlour = Parlour(OWNED)
    alice, _, _ = people(parlour)
    parlour.visitor("carol", "", "dev")
    alice.ask("op", room="dev", nick="bob")
    alice.ask("op", room="dev", nick="carol")
    assert alice.errors == ["full"]
    alice.ask("op", room="dev", nick="bob", on=False)
    alice.ask("op", room="dev", nick="carol")
    assert alice.errors == ["full"], "there is a place again"


def test_a_nick_that_comes_back_often_is_noted_once_a_day():
    owned: list[str] = []

    class Noting(MemoryHistory):
        @override
        def own(self, nick: str, key: PeerKey) -> None:
            owned.append(nick)
            super().own(nick, key)

    parlour = Parlour(OWNED, Noting())
    for day in (1, 2):
        for _ in range(3):
            alice = parlour.visitor("", "192.0.2.1", "lobby")
            prove(alice, ALICE)
            alice.ask("nick", nick="alice")
            alice.leave()
        assert owned == ["alice"] * day
        parlour.wait(24 * 3600)


def test_a_ban_that_is_lifted_early_lets_them_in():
    parlour = Parlour(OWNED)
    alice, bob, _ = people(parlour)
    alice.ask("ban", room="dev", nick="bob")
    alice.ask("ban", room="dev", nick="bob", on=False)
    assert bob.ask("join", room="dev")[0]["type"] == "joined"
    assert alice.ask("ban", room="dev", nick="bob", on=False)[0]["text"] == "bob is not banned."


def test_a_banned_key_is_put_out_when_it_shows_itself():
    parlour = Parlour(OWNED)
    alice, bob, root = people(parlour)
    prove(bob, BOB)
    alice.ask("ban", room="dev", nick="bob")
    other = parlour.visitor("other", "", "dev")
    prove(other, BOB)
    assert other.got("left")[-1]["code"] == "banned"
    root.ask("ban", nick="other", hub=True)
    assert other.cut == "banned"
    third = parlour.visitor("third", "", "lobby")
    (challenge,) = third.ask("auth", key=text(BOB.key))
    signed = b"sandpiper hub auth 1\x00" + HUB + base64.b64decode(challenge["nonce"])
    third.ask("auth", key=text(BOB.key), signature=text(BOB.sign(signed)))
    assert third.cut == "banned"


def test_an_address_that_is_banned_from_the_hub_does_not_come_in():
    parlour = Parlour(OWNED)
    alice, bob, root = people(parlour)
    root.ask("ban", nick="bob", hub=True, reason="enough")
    assert bob.cut == "banned"
    assert parlour.visitor("", "192.0.2.2").cut == "banned"
    parlour.wait(1)
    assert alice.notices[-1] == "bob left (banned)"
    root.ask("kick", nick="alice", hub=True)
    assert alice.cut == "kicked"


def test_operators_of_the_hub_rule_every_room_and_are_not_put_out():
    parlour = Parlour(OWNED)
    alice, bob, root = people(parlour)
    root.ask("join", room="dev")
    assert alice.ask("kick", room="dev", nick="root")[0]["code"] == "not_operator"
    assert alice.ask("ban", room="dev", nick="root")[0]["code"] == "not_operator"
    root.ask("leave", room="dev")
    alice.ask("ban", room="dev", nick="bob")
    assert bob.got("left")[-1]["room"] == "dev"
    neighbour = parlour.visitor("neighbour", "192.0.2.2", "lobby")
    assert neighbour.ask("join", room="dev")[0]["code"] == "banned"
    prove(neighbour, ROOT)
    assert neighbour.ask("join", room="dev")[0]["type"] == "joined", "no ban holds for them"
    neighbour.ask("kick", room="dev", nick="alice")
    assert alice.got("left")[-1]["room"] == "dev"


def test_whoever_is_muted_only_listens():
    parlour = Parlour(OWNED)
    alice, bob, _ = people(parlour)
    bob.say("before", "dev")
    alice.ask("mute", room="dev", nick="bob", seconds=60)
    bob.say("x", "dev", client_id="c1")
    assert (bob.errors, bob.got("error")[0]["client_id"]) == (["muted"], "c1")
    assert bob.ask("edit", room="dev", id=1, text="y")[0]["code"] == "muted"
    bob.ask("typing", room="dev")
    assert not alice.got("typing")
    assert bob.ask("nick", nick="robert")[0]["code"] == "bad_nick"
    assert bob.ask("nick", nick="Bob")[0]["type"] == "nick", "that is the same one"
    alice.ask("mute", room="dev", nick="bob", on=False)
    bob.say("y", "dev")
    assert alice.texts == ["before", "y"]
    assert bob.ask("nick", nick="robert")[0]["type"] == "nick"


def test_a_slow_room_takes_one_message_in_its_time_from_each():
    parlour = Parlour(OWNED)
    alice, bob, _ = people(parlour)
    alice.ask("slowmode", room="dev", seconds=10)
    bob.send(*[{"type": "msg", "text": f"{n}", "room": "dev"} for n in range(3)])
    parlour.wait(9)
    bob.say("3", "dev")
    alice.say("operators need not wait", "dev")
    parlour.wait(1)
    bob.say("4", "dev")
    assert alice.texts == ["0", "operators need not wait", "4"]
    assert bob.errors == ["slowmode", "slowmode"]


def test_what_a_guest_has_said_is_acknowledged_whatever_it_may_say_now():
    parlour = Parlour(OWNED)
    alice, bob, _ = people(parlour)
    alice.ask("slowmode", room="dev", seconds=10)
    again = [{"type": "msg", "text": "0", "room": "dev", "client_id": "c0"}] * 2
    bob.send(*again)
    assert [line["client_id"] for line in bob.got("ack")] == ["c0"]
    bob.send(again[0], {"type": "msg", "text": "1", "room": "dev", "client_id": "c1"})
    alice.ask("mute", room="dev", nick="bob")
    bob.send(again[0], {"type": "msg", "text": "2", "room": "dev", "client_id": "c2"})
    assert [line["client_id"] for line in bob.got("ack")] == ["c0"] * 3
    assert [(line["code"], line["client_id"]) for line in bob.got("error")] == [("slowmode", "c1"), ("muted", "c2")]
    assert alice.texts == ["0"]


def test_coming_in_anew_is_no_way_around_a_slow_room():
    parlour = Parlour(OWNED)
    alice, bob, _ = people(parlour)
    alice.ask("slowmode", room="dev", seconds=10)
    bob.say("0", "dev")
    bob.leave()
    for nick, address in (("bob", "192.0.2.9"), ("robert", "192.0.2.2")):
        again = parlour.visitor(nick, address, "dev")
        again.say("1", "dev")
        assert again.errors == ["slowmode"]
        again.leave()
    for n in (1, 2):
        keyed = parlour.visitor(f"keyed{n}", "192.0.2.2", "lobby")
        prove(keyed, Identity(bytes([9]) * 32))
        keyed.ask("join", room="dev")
        keyed.say(f"with a key {n}", "dev")
        assert keyed.errors == ["slowmode"] * (n - 1)
    parlour.wait(10)
    parlour.visitor("robert", "192.0.2.2", "dev").say("2", "dev")
    assert alice.texts == ["0", "with a key 1", "2"]
    assert len(parlour.house.rooms["dev"].spoke._at) == 3, "what is over is forgotten"


def test_another_nick_is_no_way_around_a_slow_room_where_there_is_no_address():
    parlour = Parlour(OWNED)
    alice, _, _ = people(parlour)
    alice.ask("slowmode", room="dev", seconds=10)
    carol = parlour.visitor("carol", "", "dev")  # as behind a tunnel
    for number in range(3):
        carol.ask("nick", nick=f"carol{number}")
        carol.say(f"{number}", "dev")
    assert alice.texts == ["0"]
    assert carol.errors == ["slowmode", "slowmode"]


def test_an_operator_that_is_away_can_be_one_no_longer():
    parlour = Parlour(OWNED)
    alice, bob, _root = people(parlour)
    prove(bob, BOB)
    alice.ask("op", room="dev", nick="bob")
    assert BOB.key in parlour.house.rooms["dev"].operators
    bob.leave()
    assert alice.ask("op", room="dev", nick="carol", on=False)[0]["code"] == "nobody"
    assert alice.ask("op", room="dev", nick="bob", on=False)[-1]["text"] == "bob is no longer an operator"
    bob = parlour.visitor("robert", "", "lobby")
    prove(bob, BOB)
    assert "operator" not in bob.ask("join", room="dev")[0]


def test_putting_out_nobody_is_answered():
    parlour = Parlour(OWNED)
    _, _, root = people(parlour)
    assert root.ask("kick", nick="carol", hub=True)[0]["code"] == "nobody"


def test_a_short_ban_does_not_end_a_longer_one_of_the_same_address_or_key():
    parlour = Parlour(OWNED)
    alice, _bob, _ = people(parlour)
    other = parlour.visitor("other", "192.0.2.2", "dev")
    alice.ask("ban", room="dev", nick="bob")
    alice.ask("ban", room="dev", nick="other", seconds=60)
    assert other.got("left")[-1]["code"] == "banned"
    parlour.wait(61)
    assert parlour.visitor("third", "192.0.2.2", "dev").errors == ["banned"]
    alice.ask("ban", room="dev", nick="fourth", seconds=60)
    alice.ask("ban", room="dev", nick="bob", on=False)
    assert parlour.visitor("fifth", "192.0.2.2", "dev").errors == []


def test_a_closed_room_is_forgotten_with_what_was_said_in_it():
    parlour = Parlour(OWNED)
    alice, bob, root = people(parlour)
    alice.say("secret", "dev")
    epoch = alice.got("joined")[0]["epoch"]
    alice.ask("close", room="dev", reason="done")
    assert [one.got("left")[-1]["code"] for one in (alice, bob)] == ["closed", "closed"]
    joined = bob.ask("join", room="dev")[0]
    assert joined["seq"] == 0
    assert joined["epoch"] != epoch
    assert bob.ask("history", room="dev")[0]["messages"] == []
    assert root.ask("close", room="lobby")[0]["code"] == "usage"
