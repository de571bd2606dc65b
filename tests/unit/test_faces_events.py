"""JSON events: as the page says, and as the design says."""

import json
import re
from pathlib import Path

import msgspec
import pytest

from sandpiper.faces import events
from sandpiper.faces.events import EVENTS, Event, encode, timestamp

PAGE = Path(__file__).parents[2] / "docs" / "json-events.md"


def name(kind: type[Event]) -> str:
    defaults = {field.name: field.default for field in msgspec.structs.fields(kind)}
    return str(defaults["event"])


BY_NAME = {name(kind): kind for kind in EVENTS}


def sections() -> dict[str, str]:
    """The page's sections, by the event in their heading."""
    parts = re.split(r"(?m)^### `(\w+)`$", PAGE.read_text("utf-8"))
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_the_page_has_every_event_and_no_other():
    assert list(sections()) == list(BY_NAME)


@pytest.mark.parametrize("event", BY_NAME)
def test_the_page_has_every_field_of_an_event_and_no_other(event: str):
    documented = re.findall(r"(?m)^\| `(\w+)` \|", sections()[event])
    assert sorted(documented) == sorted(set(BY_NAME[event].__struct_fields__) - {"v", "event"})


@pytest.mark.parametrize("event", BY_NAME)
def test_every_example_of_the_page_is_what_the_program_writes(event: str):
    examples = re.findall(r"(?s)```json\n(.*?)\n```", sections()[event])
    assert examples, "an event without an example"
    for example in examples:
        read = msgspec.json.decode(example, type=BY_NAME[event], strict=True)
        assert encode(read) == example + "\n"


DESIGN = [
    '{"v":1,"event":"ready","nick":"alice","key":"…","profile":"alice","port":8080,"rooms":["#general"]}',
    '{"v":1,"event":"peer","nick":"bob","key":"…","state":"linked","path":"lan","room":null}',
    '{"v":1,"event":"message","room":"#general","id":"…","nick":"bob","key":"…","seq":3,'
    '"time":"2026-11-21T10:30:00.123Z","text":"hi","reply_to":null,"mine":false,"history":false}',
    '{"v":1,"event":"delivery","id":"…","delivered":2,"members":3}',
    '{"v":1,"event":"gap","nick":"bob","missing":2}',
]


@pytest.mark.parametrize("line", DESIGN)
def test_the_events_of_the_design_are_never_renamed(line: str):
    wanted = json.loads(line)
    kind = BY_NAME[wanted["event"]]
    extra = {"room": "#general", "key": "k"}
    full = {**{k: v for k, v in extra.items() if k in kind.__struct_fields__}, **wanted}
    written = json.loads(encode(msgspec.convert(full, kind)))
    assert {key: written[key] for key in wanted} == wanted


def test_errors_carry_a_code_and_a_hint():
    written = json.loads(encode(events.Error(code="no_command", text="There is no command /x.", hint="/help")))
    assert written == {
        "v": 1,
        "event": "error",
        "code": "no_command",
        "text": "There is no command /x.",
        "hint": "/help",
    }


def test_one_event_is_one_line_whatever_is_said():
    line = encode(events.Error(code="x", text="a\nb\u2028\r\x1b"))
    assert line.count("\n") == 1
    assert "\x1b" not in line


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1795257000123, "2026-11-21T10:30:00.123Z"),
        (1 << 48, "9999-12-31T23:59:59.656Z"),
    ],
)
def test_times_are_rfc_3339_in_utc(ms: int, text: str):
    assert timestamp(ms)[:20] == text[:20]
