from hypothesis import given
from hypothesis import strategies as st

from sandpiper.core.names import Names
from sandpiper.wire.ids import PeerKey


def key(number: int) -> PeerKey:
    return PeerKey(bytes([number]) * 32)


ME, ALICE, EVE, BOB = key(0x11), key(0xA1), key(0xE5), key(0xB0)


def names(*known: tuple[PeerKey, str]) -> Names:
    out = Names(ME, "me")
    for peer, nick in known:
        out.learn(peer, nick)
    return out


def test_the_same_nick_under_another_key_gets_a_suffix_of_the_key():
    them = names((ALICE, "alice"), (EVE, "alice"))
    assert them.show(ALICE) == "alice"
    assert them.show(EVE) == "alice~e5e5"
    assert them.nick(EVE) == "alice", "the nick itself stays what its owner wrote"
    assert them.find("alice") == ALICE
    assert them.find("@alice") == ALICE
    assert them.find("alice~e5e5") == EVE
    assert them.all() == ("me", "alice", "alice~e5e5")


def test_nobody_gets_our_own_nick_bare():
    assert names((EVE, "me")).show(EVE) == "me~e5e5"
    assert names((EVE, "ME")).show(EVE) == "ME~e5e5"


def test_nicks_that_differ_in_case_only_are_the_same_nick():
    them = names((ALICE, "Straße"), (EVE, "STRASSE"), (BOB, "ΣΊΣΥΦΟΣ"))
    assert them.show(EVE) == "STRASSE~e5e5"
    assert them.find("strasse") == ALICE
    assert them.find("σίσυφος") == BOB


def test_nicks_in_any_script_are_shown_as_they_are():
    for nick in ("иван", "אבגד", "田中さん", "👩‍🚀", "zoë", "ﬁsh"):
        them = names((ALICE, nick))
        assert them.show(ALICE) == nick
        assert them.find(f"@{nick}") == ALICE


def test_whoever_gives_a_nick_up_leaves_it_to_the_next_who_has_it():
    them = names((ALICE, "alice"), (EVE, "alice"), (BOB, "Alice"))
    them.learn(ALICE, "ally")
    assert them.show(ALICE) == "ally"
    assert them.show(EVE) == "alice"
    assert them.show(BOB) == "Alice~b0b0"
    them.learn(EVE, "eve")
    assert them.show(BOB) == "Alice"


def test_a_nick_that_nobody_else_has_is_free_again():
    them = names((ALICE, "alice"))
    them.learn(ALICE, "ally")
    them.learn(EVE, "alice")
    assert them.show(EVE) == "alice"
    assert them.find("ally") == ALICE


def test_learning_the_same_again_changes_nothing():
    them = names((ALICE, "alice"), (EVE, "alice"))
    them.learn(ALICE, "alice")
    them.learn(EVE, "alice")
    assert (them.show(ALICE), them.show(EVE)) == ("alice", "alice~e5e5")


def test_a_nick_changed_in_case_stays_its_owners():
    them = names((ALICE, "alice"), (EVE, "alice"))
    them.learn(ALICE, "Alice")
    assert them.show(ALICE) == "Alice"
    assert them.show(EVE) == "alice~e5e5"


def test_whoever_was_never_heard_of_is_shown_by_the_key():
    them = names()
    assert them.show(BOB) == them.nick(BOB) == "b0b0b0b0"


def test_a_key_is_found_by_its_beginning_when_that_says_enough():
    other = PeerKey(b"\xa1\xa1\xff" + bytes(29))
    them = names((ALICE, "alice"), (other, "other"))
    assert them.find("a1a1a1") == ALICE
    assert them.find("A1A1FF") == other
    assert them.find("a1a1") is None, "two keys begin so"
    assert them.find("a1a") is None, "too short"
    assert them.find("nobody") is None
    assert them.find("") is None


def test_invisible_characters_and_other_forms_of_letters_make_no_new_nick():
    for twin in ("ali\u200dce", "ali\u200cce", "alice\ufe0f", "\uff41lice", "alic\u034fe"):
        them = names((ALICE, "alice"), (EVE, twin))
        assert them.show(EVE) == f"{twin}~e5e5", ascii(twin)


def test_a_nick_that_looks_like_a_suffix_does_not_pass_for_one():
    them = names((ALICE, "alice"), (BOB, "alice"), (EVE, "alice~b0b0"))
    assert them.show(BOB) == "alice~b0b0"
    assert them.show(EVE) == "alice~b0b0~e5e5"
    assert them.find("alice~b0b0") == BOB
    assert them.find("alice~b0b0~e5e5") == EVE


def test_a_key_made_to_have_the_same_digits_gets_more_of_them():
    twin = PeerKey(BOB[:2] + bytes(30))
    them = names((ALICE, "alice"), (BOB, "alice"), (twin, "alice"))
    assert them.show(BOB) == "alice~b0b0"
    assert them.show(twin) == "alice~b0b00000"
    assert them.find("alice~b0b00000") == twin


KEYS = st.sampled_from([bytes([n]) * 2 + bytes([m]) * 30 for n in range(3) for m in range(2)]).map(PeerKey)
NICKS = st.sampled_from(["a", "A", "b", "ß", "ss", "SS", "a~0000", "a~0101", "a~0101~0202", "\u200da"])


@given(st.lists(st.tuples(KEYS, NICKS), max_size=30))
def test_no_two_keys_ever_look_alike(steps):
    them = names()
    for peer, nick in steps:
        them.learn(peer, nick)
    shown = [name.replace("\u200d", "").casefold() for name in them.all()]
    assert len(set(shown)) == len(shown), shown
    for peer in {peer for peer, _ in steps}:
        assert them.find(them.show(peer)) == peer


def test_a_thousand_keys_of_one_nick_are_compared_once():
    keys = [PeerKey(bytes([0xB0, 0xB0]) + number.to_bytes(30, "big")) for number in range(1000)]
    them = names(*((peer, "bob") for peer in keys))
    shown = them.all()
    assert len(set(shown)) == len(shown)
    kept = dict(them._suffixes)
    assert len(kept) == len(keys) - 1, "all but the one who has the bare nick"
    them.learn(EVE, "bob")
    assert them._suffixes == kept, "whoever comes last changes nobody else's name"


def test_an_older_acquaintance_who_takes_a_nick_makes_the_younger_show_more_digits():
    twin = PeerKey(BOB[:2] + bytes(30))
    them = names((ALICE, "alice"), (BOB, "bob"), (twin, "alice"))
    assert them.show(twin) == "alice~b0b0"
    them.learn(BOB, "alice")
    assert (them.show(BOB), them.show(twin)) == ("alice~b0b0", "alice~b0b00000")
    them.learn(BOB, "bob")
    assert them.show(twin) == "alice~b0b0"
