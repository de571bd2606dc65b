"""Reading a history: pages, search, and reading while another process writes."""

import random
import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sandpiper.crypto.rooms import direct_room
from sandpiper.errors import StoreError, UsageError
from sandpiper.store import history as history_module
from sandpiper.store import reader as reader_module
from sandpiper.store.history import History
from sandpiper.store.reader import Message, Reader
from sandpiper.store.schema import MIGRATIONS, migrate
from sandpiper.testing.conformance import DEADLINE
from sandpiper.wire.ids import RecordId, RoomId
from sandpiper.wire.records import Edit, Profile, React, Retract, Text
from tests.unit.authors import DEV, EPOCH, GENERAL, JOIN_DEV, JOIN_GENERAL, Author, keep


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    with closing(History(tmp_path / "history.db")) as history:
        history.save_room(JOIN_GENERAL)
        history.save_room(JOIN_DEV)
        history.commit()
        yield history


@pytest.fixture
def reader(history: History) -> Iterator[Reader]:
    with Reader(history.path) as reader:
        yield reader


def texts(messages: list[Message]) -> list[str]:
    return [message.text for message in messages]


@pytest.fixture
def say(history: History) -> Callable[..., object]:
    author = Author(1)
    return lambda *words: keep(history, *(author.write(text) for text in words))


# ---------------------------------------------------------------- pages


def test_a_page_is_the_newest_of_a_room_oldest_first(history, reader, say):
    say(*(f"m{n}" for n in range(25)))
    keep(history, Author(2).write("elsewhere", room=DEV))
    assert texts(reader.page(GENERAL, limit=3)) == ["m22", "m23", "m24"]
    assert len(reader.page(GENERAL)) == 25
    assert texts(reader.page(DEV)) == ["elsewhere"]
    assert reader.page(direct_room(Author(1).key, Author(2).key)) == []


def test_a_room_is_in_its_order_whatever_came_first(history, reader):
    one, two = Author(1), Author(2)
    appends = [one.write("c", time=3000), two.write("a", time=1000), two.write("b", time=2000)]
    twins = [Author(n).write(f"twin {n}", time=2500) for n in range(3, 8)]
    keep(history, *appends, *twins)
    by_id = [a.record.body.text for a in sorted(twins, key=lambda a: a.record.id) if isinstance(a.record.body, Text)]
    assert texts(reader.page(GENERAL)) == ["a", "b", *by_id, "c"]


def test_pages_back_show_every_message_once_also_while_new_and_late_ones_come(history, reader):
    author, late = Author(1), Author(2)
    keep(history, *(author.write(f"m{n}", time=EPOCH + 10 * n) for n in range(100)))
    seen = texts(reader.page(GENERAL, limit=10))
    place = reader.page(GENERAL, limit=10)[0].place
    number = 0
    while page := reader.page(GENERAL, before=place, limit=7):
        seen = texts(page) + seen
        place = page[0].place
        number += 1
        keep(history, author.write("new", time=EPOCH + 10_000 + number), late.write("late", time=EPOCH + 5000 + number))
    assert seen == [f"m{n}" for n in range(100)]


def test_pages_forward_show_every_message_once_also_while_new_ones_come(history, reader):
    author = Author(1)
    keep(history, *(author.write(f"m{n}", time=EPOCH + n) for n in range(50)))
    seen: list[str] = []
    place = (-1, b"")
    while page := reader.page_after(GENERAL, place, 8):
        seen += texts(page)
        place = page[-1].place
        if len(seen) < 100:
            keep(history, author.write("new", time=EPOCH + 1000 + len(seen)))
    assert seen[:50] == [f"m{n}" for n in range(50)]
    assert set(seen[50:]) == {"new"}


def test_messages_of_one_moment_are_not_lost_between_pages(history, reader):
    keep(history, *(Author(n).write(f"{n}", time=EPOCH) for n in range(1, 31)))
    seen: list[str] = []
    place = None
    while page := reader.page(GENERAL, before=place, limit=4):
        seen += texts(page)
        place = page[0].place
    assert sorted(seen) == sorted(str(n) for n in range(1, 31))
    assert list(reader.everything(GENERAL)) == reader.page(GENERAL)


def test_since_leaves_out_what_is_older(history, reader):
    author = Author(1)
    keep(history, *(author.write(f"m{n}", time=EPOCH + n * 1000) for n in range(10)))
    since = EPOCH + 7000
    assert texts(reader.page(GENERAL, since_ms=since)) == ["m7", "m8", "m9"]
    assert texts(list(reader.everything(GENERAL, since_ms=since))) == ["m7", "m8", "m9"]
    assert texts(reader.search("m8", since_ms=since)) == ["m8"]
    assert reader.search("m3", since_ms=since) == []


def test_a_message_says_all_there_is_to_know(history, reader):
    author, other = Author(1), Author(2)
    (profile, said) = keep(history, author.write(Profile("ann")), author.write("hello"))
    (answer,) = keep(history, other.write(Text("waves", reply_to=said.id, action=True)))
    history.saw_peer(other.key, "bob", 1)
    keep(history, author.write(React(answer.id, "👋")))
    first, second = reader.page(GENERAL)
    assert (first.id, first.author, first.seq, first.time, first.nick) == (said.id, author.key, 2, said.time, "ann")
    assert (second.reply_to, second.action, second.nick) == (said.id, True, "bob")
    assert [(r.author, r.emoji) for r in second.reactions] == [(author.key, "👋")]
    assert profile.seq == 1


def test_rooms_are_listed_by_their_newest_message(history, reader):
    author = Author(1)
    assert [(row.name, row.messages, row.last_time) for row in reader.rooms()] == [("general", 0, 0), ("dev", 0, 0)]
    keep(history, author.write("a", time=1000), author.write("b", time=3000), author.write("c", room=DEV, time=2000))
    assert [(row.name, row.messages, row.last_time) for row in reader.rooms()] == [
        ("general", 2, 3000),
        ("dev", 1, 2000),
    ]
    keep(history, author.write("d", room=DEV, time=4000))
    assert [row.name for row in reader.rooms()] == ["dev", "general"]


def test_a_message_is_found_by_the_beginning_of_its_id(history, reader):
    author = Author(1)
    said = keep(history, *(author.write(f"m{n}") for n in range(20)))[7]
    for digits in (8, 9, 64):
        assert [m.id for m in reader.find(GENERAL, said.id.hex()[:digits])] == [said.id]
    assert [m.id for m in reader.find(GENERAL, said.id.hex()[:8].upper())] == [said.id]
    assert reader.find(DEV, said.id.hex()[:8]) == []
    assert said.id in {m.id for m in reader.find(GENERAL, said.id.hex()[:4])}


@pytest.mark.parametrize("prefix", ["", "abc", "xyzz", "12 4", "🙂🙂🙂🙂", "0x12", "a" * 65])
def test_what_is_no_id_is_refused(reader, prefix):
    with pytest.raises(UsageError) as caught:
        reader.find(GENERAL, prefix)
    assert caught.value.hint


# ---------------------------------------------------------------- search


def test_search_finds_whole_words_in_any_order_case_and_accent(say, reader):
    say("Pizza on Friday?", "I had a pizza", "friday is Crème Brûlée day", "nothing of it")
    assert texts(reader.search("friday pizza")) == ["Pizza on Friday?"]
    assert texts(reader.search("PIZZA")) == ["Pizza on Friday?", "I had a pizza"]
    assert texts(reader.search("creme brulee")) == ["friday is Crème Brûlée day"]
    assert texts(reader.search("crème")) == ["friday is Crème Brûlée day"]
    assert reader.search("izza") == []


def test_the_last_word_may_be_a_beginning(say, reader):
    say("Pizza on Friday?", "pits")
    assert texts(reader.search("pi")) == ["Pizza on Friday?", "pits"]
    assert texts(reader.search("pizza fri")) == ["Pizza on Friday?"]
    assert reader.search("pi friday") == [], "only the last one"


def test_search_knows_all_scripts(say, reader):
    for text, words in {
        "Встретимся в четверг": "ЧЕТВЕРГ", "Συνάντηση την Πέμπτη": "ΣΥΝΆΝΤΗΣΗ", "פגישה ביום חמישי": "חמישי",
        "موعدنا يوم الخميس": "الخميس", "Übergrößenträger": "ubergroß", "Łódź w piątek": "łodz",
        "会议 周四": "周四", "naïve café": "naive cafe", "x² is 4": "4", "mañana": "manana",
    }.items():  # fmt: skip
        say(text)
        assert texts(reader.search(words)) == [text], words


@pytest.mark.parametrize(
    "words",
    [
        '"', '""', '" OR "', "pizza AND", "NOT pizza", "OR", "NEAR(pizza friday)", "text:pizza", "pi*zza", "^pizza",
        "pizza -friday", "(pizza", "pizza)", "{pizza}", "a+b", "'; DROP TABLE messages; --", "\\", "%", "_", "!!!", "*",
        "🙂", "x\x00", "piz\x00za", "\ud800", "é" * 5000, "x " * 5000, "-", "--", "words:", "rowid", "\u0301",
    ],
    ids=lambda words: ascii(words[:20]).replace("\\", ""),
)  # fmt: skip
def test_no_search_words_are_operators_or_errors(say, reader, words):
    say("Pizza on Friday?")
    assert all(isinstance(message, Message) for message in reader.search(words))
    assert reader.page(GENERAL)[0].text == "Pizza on Friday?"


def test_operators_are_words_like_any_other(say, reader):
    say("war and peace", "war", "not now", "either or", "near miss")
    assert texts(reader.search("war AND peace")) == ["war and peace"]
    assert reader.search("war OR peace") == []
    assert texts(reader.search("NOT")) == ["not now"]
    assert texts(reader.search("NEAR")) == ["near miss"]


def test_searching_for_nothing_is_told(reader):
    for words in ("", "  ", "\n\t", "\0"):
        with pytest.raises(UsageError) as caught:
            reader.search(words)
        assert caught.value.hint


@pytest.mark.parametrize("indexed", [1, 256], ids=["at once", "later"])
def test_edits_are_found_by_their_new_text_and_retracted_messages_not_at_all(history, reader, monkeypatch, indexed):
    monkeypatch.setattr(history_module, "INDEX_FROM", indexed)
    author = Author(1)
    one, two, three = keep(history, author.write("apples"), author.write("bananas"), author.write("cherries"))
    keep(history, author.write(Edit(one.id, "apricots")), author.write(Retract(two.id)))
    assert reader.search("apples") == []
    assert texts(reader.search("apricots")) == ["apricots"]
    assert reader.search("bananas") == []
    keep(
        history, author.write(Edit(one.id, "avocados")), author.write("bananas again"), author.write(Retract(three.id))
    )
    assert reader.search("apricots") == []
    assert texts(reader.search("avocados")) == ["avocados"]
    assert texts(reader.search("bananas")) == ["bananas again"]
    assert reader.search("cherries") == []


def test_search_finds_the_newest_in_one_room_or_in_all(history, reader, say):
    say(*(f"word {n}" for n in range(30)))
    author = Author(2)
    keep(history, *(author.write(f"word in dev {n}", room=DEV) for n in range(3)))
    assert texts(reader.search("word", limit=2)) == ["word in dev 1", "word in dev 2"]
    assert texts(reader.search("word", room=GENERAL, limit=2)) == ["word 28", "word 29"]
    assert len(reader.search("word")) == 33


def test_search_finds_what_is_indexed_and_what_is_not_yet(history, reader, say, monkeypatch):
    monkeypatch.setattr(history_module, "INDEX_FROM", 10)
    for number in range(25):
        say(f"word number{number}")
        assert len(reader.search("word")) == number + 1
        assert len(reader.search(f"number{number}")) == 1
    history.close()
    with Reader(history.path) as again:
        assert len(again.search("word")) == 25


@pytest.mark.parametrize("recent", [1, 7, 40, 1_000])
def test_search_finds_the_newest_by_their_place_whatever_came_first(history, reader, monkeypatch, recent):
    monkeypatch.setattr(reader_module, "RECENT", recent)
    rng = random.Random(recent)
    key = Author(1).key
    kept: list[tuple[int, bytes, str, RoomId]] = []
    for number, clock in enumerate(rng.choices(range(150), k=200)):  # many share a clock
        room = DEV if rng.random() < 0.2 else GENERAL
        text = f"{'word' if rng.random() < 0.5 else 'other'} {number}"
        kept.append((clock, RecordId(rng.randbytes(32)), text, room))
        history.append_plain(room, kept[-1][1], key, "ann", clock, text)
    history.commit()
    kept.sort()
    rooms: tuple[RoomId | None, ...] = (None, GENERAL, DEV)
    for asked in rooms:
        for limit in (1, 5, 30, 200):
            wanted = [text for _, _, text, where in kept if "word" in text and asked in (None, where)][-limit:]
            assert texts(reader.search("word", room=asked, limit=limit)) == wanted


# ---------------------------------------------------------------- beside a writer


WRITER = """
import sys
from pathlib import Path
from tests.unit.authors import Author, JOIN_GENERAL, keep
from sandpiper.store import history
history.CHECKPOINT_EVERY = 50
with history.contextlib.closing(history.History(Path(sys.argv[1]))) as writer:
    writer.save_room(JOIN_GENERAL)
    author = Author(1)
    for number in range(1500):
        keep(writer, author.write(f"m{number} word " + "x" * 200))
        if number % 100 == 0:
            print(number, flush=True)
"""


def test_another_process_may_write_while_this_one_reads(tmp_path):
    path = tmp_path / "history.db"
    command = [sys.executable, "-c", WRITER, str(path)]
    writer = subprocess.Popen(
        command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2],
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    try:
        assert writer.stdout is not None
        counts = []
        for line in writer.stdout:
            acknowledged = int(line)
            with Reader(path) as reader:
                found = [int(m.text.split()[0][1:]) for m in reader.everything(GENERAL)]
                assert found == list(range(len(found))), "a reader never sees a hole"
                assert len(found) > acknowledged
                assert len(reader.search("word", limit=5000)) >= len(found)
                counts.append(len(found))
        assert writer.wait(DEADLINE) == 0
        assert len(set(counts)) > 3, "it did write meanwhile"
    finally:
        writer.kill()
        writer.wait()
        if writer.stdout is not None:
            writer.stdout.close()


def test_reading_does_not_hold_up_the_writer(history, reader, say):
    say("a")
    pages = reader.everything(GENERAL)
    assert next(pages).text == "a"
    say(*(f"m{n}" for n in range(50)))
    assert len(reader.page(GENERAL)) == 51


def test_a_reader_cannot_write(reader):
    with pytest.raises(sqlite3.OperationalError):
        reader._db.execute("DELETE FROM messages")


def test_without_a_history_there_is_a_clear_word_and_no_file_is_made(tmp_path):
    with pytest.raises(StoreError) as caught:
        Reader(tmp_path / "history.db")
    assert "no history yet" in str(caught.value)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_is_told_by_whatever_reads_it(tmp_path):
    path = tmp_path / "history.db"
    path.write_bytes(b"not a database" * 1000)
    with Reader(path) as reader:
        for use in (
            reader.rooms, reader.peers, lambda: reader.page(GENERAL), lambda: reader.search("x"),
            lambda: list(reader.everything(GENERAL)), lambda: reader.find(GENERAL, "abcd"),
        ):  # fmt: skip
            with pytest.raises(StoreError) as caught:
                use()
            assert caught.value.code == "damaged"


# ---------------------------------------------------------------- a large history

LARGE = 100_000


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100,000 messages in one room and some in another; ten of them hold a rare word."""
    path = tmp_path_factory.mktemp("large") / "history.db"
    key = Author(1).key
    with closing(History(path)) as history:
        history.save_room(JOIN_GENERAL)
        history.save_room(JOIN_DEV)
        for number in range(LARGE):
            rare = " xylophone" if number % (LARGE // 10) == 0 else ""
            room = DEV if number % 100 == 99 else GENERAL
            text = f"message number{number} common words{rare}"
            history.append_plain(room, RecordId(number.to_bytes(4, "big") * 8), key, "ann", EPOCH + number, text)
            if number % 5000 == 0:
                history.commit()
    return path


def steps(reader: Reader, work: Callable[[], object]) -> int:
    """How many instructions SQLite's machine runs for this; some ten a row, on every machine."""
    count = 0

    def count_them() -> int:
        nonlocal count
        count += 100
        return 0

    reader._db.set_progress_handler(count_them, 100)
    work()
    reader._db.set_progress_handler(None, 100)
    return count


def test_pages_of_a_large_history_cost_what_they_show(large):
    with Reader(large) as reader:
        middle = reader.page(GENERAL, limit=1)[0].place[0] - LARGE // 2
        for work in (
            lambda: reader.page(GENERAL, limit=100),
            lambda: reader.page(GENERAL, before=(middle, b""), limit=100),
            lambda: reader.page_after(GENERAL, (middle, b""), 100),
            lambda: reader.page_after(GENERAL, (-1, b""), 100),
            lambda: reader.page(DEV, limit=100),
        ):
            assert steps(reader, work) < 100 * 200


def test_search_in_a_large_history_costs_what_it_finds(large):
    with Reader(large) as reader:
        assert len(reader.search("xylophone")) == 10
        assert steps(reader, lambda: reader.search("xylophone")) < 20_000
        assert steps(reader, lambda: reader.search("number77777")) < 20_000
        assert steps(reader, lambda: reader.find(GENERAL, "0001e240")) < 20_000
        assert steps(reader, lambda: reader.search("common")) < 60_000, "a word of all messages"


def test_a_large_history_is_read_page_by_page(large):
    with Reader(large) as reader:
        tracemalloc.start()
        try:
            for _, _message in zip(range(reader_module.EXPORT_PAGE * 5), reader.everything(GENERAL), strict=False):
                pass
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 5_000_000


def test_the_newest_of_a_large_history_fit_in_little_memory(large):
    with Reader(large) as reader:
        tracemalloc.start()
        try:
            reader.search("common", limit=50)
            reader.page(GENERAL, limit=50)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 5_000_000


# ---------------------------------------------------------------- messages by id


def test_messages_by_id_come_oldest_first_with_their_reactions(history, reader):
    one, two = Author(1), Author(2)
    said = keep(history, *(one.write(f"m{n}", time=EPOCH + n) for n in range(5)))
    (elsewhere,) = keep(history, two.write("elsewhere", room=DEV, time=EPOCH + 2))
    keep(
        history,
        two.write(React(said[1].id, "👍")),
        two.write(React(said[1].id, "🎉")),
        one.write(React(said[4].id, "👍")),
    )
    asked = [said[4].id, RecordId(b"?" * 32), said[1].id, elsewhere.id, said[1].id]
    found = reader.messages(asked)
    assert texts(found) == ["m1", "elsewhere", "m4"]
    assert [[r.emoji for r in message.reactions] for message in found] == [["🎉", "👍"], [], ["👍"]]
    assert found[0] == reader.page(GENERAL)[1]
    assert reader.messages([]) == []


@pytest.mark.parametrize("count", [499, 500, 501, 1001])
def test_any_number_of_messages_by_id_takes_one_question_a_chunk(history, reader, count):
    author = Author(1)
    said = keep(history, *(author.write(f"m{n}", time=EPOCH + n) for n in range(count)))
    asked: list[str] = []
    reader._db.set_trace_callback(asked.append)
    found = reader.messages([record.id for record in reversed(said)])
    reader._db.set_trace_callback(None)
    assert texts(found) == [f"m{n}" for n in range(count)]
    assert len(asked) == 2 * -(-count // reader_module.CHUNK), "messages and their reactions"


def test_a_file_of_an_older_version_can_be_read_before_it_is_brought_up_to_date(tmp_path):
    path = tmp_path / "history.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        migrate(db, MIGRATIONS[:1])
        db.execute("INSERT INTO peers VALUES (?, 'ann', 1, 2, 0)", (Author(1).key,))
    with Reader(path) as reader:
        assert [(row.nick, row.verified) for row in reader.peers()] == [("ann", False)]
