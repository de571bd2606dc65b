"""The bounded queue between the node and a slow reader."""

import threading

from sandpiper.faces.terminal import MAX_TAKE, Outbox


def skipped(count: int) -> str:
    return f"{count} skipped\n"


def everything(outbox: Outbox) -> list[str]:
    out: list[str] = []
    while pieces := outbox.take():
        out += [piece.text for piece in pieces]
    return out


def test_lines_come_out_as_they_went_in():
    outbox = Outbox(skipped)
    outbox.put("a\n")
    outbox.put("b\n", aside=True)
    assert [tuple(piece) for piece in outbox.take()] == [("a\n", False), ("b\n", True)]
    assert outbox.take() == []


def test_a_full_queue_skips_and_says_so_once_in_the_right_place():
    outbox = Outbox(skipped, limit=10)
    for number in range(9):
        outbox.put(f"{number}\n")
    assert everything(outbox) == ["0\n", "1\n", "2\n", "3\n", "4\n", "4 skipped\n"]
    outbox.put("later\n")
    assert everything(outbox) == ["later\n"]


def test_once_full_it_takes_nothing_until_its_reader_has_caught_up():
    outbox = Outbox(skipped, limit=MAX_TAKE * 2)
    big = "x" * (MAX_TAKE - 1) + "\n"
    for _ in range(3):
        outbox.put(big)
    assert [piece.text for piece in outbox.take()] == [big]
    outbox.put("small\n")  # would fit, but comes after a hole that is not told yet
    assert everything(outbox) == [big, "2 skipped\n"]


def test_a_closed_queue_gives_what_it_has_and_then_nothing():
    outbox = Outbox(skipped)
    outbox.put("a\n")
    outbox.close()
    outbox.put("b\n")
    assert [piece.text for piece in outbox.take(wait=True)] == ["a\n"]
    assert outbox.take(wait=True) == []


def test_a_waiting_reader_is_woken():
    outbox = Outbox(skipped)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.extend(piece.text for piece in outbox.take(wait=True)))
    reader.start()
    outbox.put("a\n")
    reader.join(10)
    assert got == ["a\n"]
