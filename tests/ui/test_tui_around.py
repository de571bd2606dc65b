from typing import TYPE_CHECKING

import msgspec
import pytest
from textual.app import App, ComposeResult
from textual.containers import Horizontal, Vertical
from textual.events import MouseScrollDown
from textual.geometry import Region
from typing_extensions import override

from sandpiper.faces.people import PLAIN_ROOM
from sandpiper.faces.spans import Line, text_of
from sandpiper.faces.tui.activity import TYPING_SECONDS, Activity
from sandpiper.faces.tui.empty import EmptyState, empty_lines
from sandpiper.faces.tui.guard import LastNet, forbidden
from sandpiper.faces.tui.header import Header
from sandpiper.faces.tui.notify import PAUSE, How, Notifier, deserves
from sandpiper.faces.tui.palettes import DARK, LIGHT, PLAIN, Palette
from sandpiper.faces.tui.row import Drawn, Edge, cells, cut, extent
from sandpiper.faces.tui.sidebar import Sidebar, next_unread, rooms_in_order
from sandpiper.faces.tui.status import StatusLine
from sandpiper.faces.tui.themes import Looks, textual_theme
from sandpiper.faces.tui.views import Around, Membering, Missing, PeerView, Presence, RoomView, Typing, Us, Who
from sandpiper.faces.tui.wording import NARROW, Keys, ago, key_name, mode, round_trip
from sandpiper.wire.ids import PeerKey, RoomId

if TYPE_CHECKING:
    from textual.message import Message

NOW = 1_763_000_000  # seconds since 1970
KEYS: Keys = {"jump": "ctrl+k", "search": "ctrl+f", "help": ("f1", "ctrl+g")}
HOSTILE = [
    "\x1b]52;c;cm0gLXJm\x07",
    "\x9b2J",
    "\u202egnp.exe\u2066",
    "[/b][@click=app.quit]x[/]",
    "one\ntwo\rthree\tfour\u2028five",
    "名前がとても長い人ですよねえ本当に",
    "👩‍👩‍👧‍👦☀️🇩🇪👋🏽" * 4,
    "e" + "\u0301" * 40,
    "x" * 300,
    "\u200b" * 300,
]
LOOKS = Looks(DARK)
replace = msgspec.structs.replace


def ascii_start(text: str) -> str:
    return ascii(text[:8])


def rid(number: int) -> RoomId:
    return RoomId(bytes([number]) * 32)


def key(number: int) -> PeerKey:
    return PeerKey(bytes([number]) * 32)


def room(number: int, label: str, unread: int = 0, mentions: int = 0, peer: int | None = None) -> RoomView:
    return RoomView(
        id=rid(number),
        label=label,
        kind="open" if peer is None else "direct",
        peer=key(peer) if peer is not None else None,
        topic="",
        others=5,
        unread=unread,
        mentions=mentions,
        read=(0, b""),
    )


def peer(
    number: int,
    name: str,
    *,
    verified: bool = True,
    presence: Presence = "here",
    path: str = "lan",
    rtt: float | None = 0.001,
    seen: int = 0,
    unread: int = 0,
    plain: bool = False,
) -> PeerView:
    return PeerView(
        key(number), name, number % 16, verified, presence, "", path, rtt, seen, rid(100 + number), unread, plain
    )


US = Us(key(1), "you", "", False, "192.168.1.7", 8080, True)
MAYA = peer(2, "maya", unread=2)
KENJI = replace(peer(5, "kenji", verified=False, presence="away", path="relay", rtt=0.081), status="lunch")
HARBOUR = replace(room(1, "#harbour"), topic="Saturday on the Sanderling")
AROUND = Around(
    US,
    (
        HARBOUR,
        room(2, "#build-crew", 5, 2),
        room(102, "@maya", 2, peer=2),
        room(3, "#tides", 3),
        room(4, "#random"),
    ),
    (
        peer(7, "priya", presence="gone", path="", rtt=None, seen=(NOW - 7300) * 1000),
        MAYA,
        peer(3, "tomas", path="direct", rtt=0.024),
        KENJI,
    ),
)
ALONE = Around(US, (replace(HARBOUR, others=0),), ())


class Surroundings(App[None]):
    """The widgets around the transcript, where they belong."""

    CSS = "#middle { height: 1fr; } #right { width: 1fr; padding: 0 1; }"

    def __init__(self, palette: Palette = DARK) -> None:
        super().__init__()
        self.register_theme(textual_theme(palette))
        self.theme = palette.name
        looks = Looks(palette)
        self.time = 100.0
        self.now = NOW
        self.sidebar = Sidebar(looks, KEYS, clock=lambda: self.now)
        self.header = Header(looks, KEYS, clock=lambda: self.now)
        self.empty = EmptyState(looks)
        self.activity = Activity(looks, clock=lambda: self.time)
        self.status = StatusLine(looks, KEYS)
        self.asked: list[Message] = []
        self._net = LastNet()

    @override
    def compose(self) -> ComposeResult:
        with Horizontal(id="middle"):
            yield self.sidebar
            with Vertical(id="right"):
                yield self.header
                yield self.empty
                yield self.activity
        yield self.status

    @property
    def drawn(self) -> tuple[Drawn, ...]:
        return (self.sidebar, self.header, self.empty, self.activity, self.status)

    def show(self, around: Around, current: RoomId | None = HARBOUR.id) -> None:
        for widget in (self.sidebar, self.header, self.empty, self.status):
            widget.show(around, current)
        self.activity.show(next((one for one in around.rooms if one.id == current), None))

    @override
    def get_line_filters(self):
        return [*super().get_line_filters(), self._net]

    def on_sidebar_room_chosen(self, message: Sidebar.RoomChosen) -> None:
        self.asked.append(message)

    def on_sidebar_peer_chosen(self, message: Sidebar.PeerChosen) -> None:
        self.asked.append(message)

    def on_edge_asked(self, message: Edge.Asked) -> None:
        self.asked.append(message)


def painted(widget: Drawn) -> list[str]:
    """The text of a widget as it is on the screen."""
    size = widget.outer_size
    return [strip.text.rstrip() for strip in widget.render_lines(Region(0, 0, size.width, size.height))]


def wheel(widget: Drawn) -> MouseScrollDown:
    """A notch of the wheel over a widget."""
    return MouseScrollDown(widget, 5, 5, 0, 1, 0, False, False, False)


def row_with(widget: Drawn, text: str) -> str:
    return next(row for row in painted(widget) if text in row)


def shown(app: App[None]) -> str:
    """What is on the screen, as it was last painted."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


# ---------------------------------------------------------------- the sidebar


async def test_sidebar_says_what_is_unread_and_how_everybody_is_reached():
    app = Surroundings()
    async with app.run_test(size=(120, 34)) as pilot:
        app.show(AROUND)
        await pilot.pause()
        rows = painted(app.sidebar)
    assert rows[:16] == [
        "",
        "  ≈ sandpiper    lan",
        "",
        "  ROOMS                    ^K",
        "▌ # harbour",
        "  # build-crew            2@",
        "  # tides                  3",
        "  # random",
        "",
        "  PEERS              3 online",
        "  ● maya ✓  2        lan  1ms",
        "  ● tomas ✓       direct 24ms",
        "  ◐ kenji ?        relay 81ms",
        "  ○ priya ✓         seen   2h",
        "",
        "",
    ]
    assert rows[-2:] == ["  ● you  192.168.1.7", ""]


MEMBERS = (
    Membering(Who("maya", 2, verified=True), "owner", here=True),
    Membering(Who("you", 1), "member", here=True, us=True),
    Membering(Who("kenji", 5), "admin", here=False),
)
BIRDS = replace(room(5, "#birds"), kind="private", members=MEMBERS)


async def test_sidebar_lists_the_members_of_the_private_room_on_the_screen_with_their_roles():
    app = Surroundings()
    around = replace(AROUND, rooms=(*AROUND.rooms, BIRDS))
    async with app.run_test(size=(120, 34)) as pilot:
        app.show(around, BIRDS.id)
        await pilot.pause()
        rows = painted(app.sidebar)
        at = rows.index("  MEMBERS              2 of 3")
        assert rows[at + 1 : at + 5] == [
            "  ● maya ✓              owner",
            "  ● you",
            "  ○ kenji               admin",
            "",
        ]
        app.show(around, HARBOUR.id)
        await pilot.pause()
        assert not any("MEMBERS" in row for row in painted(app.sidebar))


async def test_another_key_with_a_verified_name_cannot_be_overlooked_around_the_transcript():
    app = Surroundings()
    eve = replace(peer(9, "maya~0909", verified=False), other_key=True)
    direct = replace(room(109, "@maya~0909", peer=9), held_back=("maya~0909",))
    around = replace(AROUND, rooms=(*AROUND.rooms, direct), peers=(*AROUND.peers, eve))
    async with app.run_test(size=(120, 34)) as pilot:
        app.show(around, direct.id)
        await pilot.pause()
        assert "maya~0909 [other key]" in row_with(app.sidebar, "maya~0909")
        assert "HELD BACK another key: maya~0909" in painted(app.header)[1]
        assert "HELD BACK nothing is sent: maya~0909" in painted(app.status)[0]
        said = "\n".join(painted(app.empty))
        assert "has not the key that you have verified" in said
        assert "/verify maya~0909 accept" in said
    for width in (20, 30, 40, 60, 80):
        assert "HELD BACK" in status(around, direct.id, width)


async def test_ages_grow_with_time_though_nothing_is_told():
    app = Surroundings()
    here = room(107, "@priya", peer=7)
    async with app.run_test(size=(120, 34)) as pilot:
        app.show(replace(AROUND, rooms=(*AROUND.rooms, here)), here.id)
        await pilot.pause()
        assert "seen   2h" in shown(app)
        assert "seen 2h ago" in shown(app)
        app.now += 3 * 3600
        for widget in (app.sidebar, app.header):
            (timer,) = (one for one in widget._timers if one._interval >= 30)
            assert timer._interval <= 60, "the smallest age is a minute"
            await timer._tick(next_timer=0, count=1)  # as when its time has come
        await pilot.pause()
        assert "seen   5h" in shown(app)
        assert "seen 5h ago" in shown(app)


async def test_sidebar_says_when_we_are_away_temporary_or_offline():
    app = Surroundings()
    us = replace(US, status="back at noon", temporary=True, multicast=False, address="fe80::1:2:3:4:5:6%eth0")
    async with app.run_test(size=(120, 34)) as pilot:
        app.show(replace(ALONE, us=us))
        await pilot.pause()
        rows = painted(app.sidebar)
    assert rows[1] == "  ≈ sandpiper    offline"
    assert rows[-5:-1] == ["  ◐ you", "    fe80::1:2:3:4:5:6%eth0", "    back at noon", "    temporary identity"]


async def test_sidebar_marks_plain_peers_and_lists_direct_rooms_of_unknown_ones():
    app = Surroundings()
    plain = peer(8, "old [plain]", verified=False, rtt=None, plain=True)
    async with app.run_test(size=(120, 34)) as pilot:
        app.show(Around(US, (HARBOUR, room(103, "@stranger", 120, peer=3)), (plain,)), rid(103))
        await pilot.pause()
        assert "● old [plain]" in row_with(app.sidebar, "old")
        assert row_with(app.sidebar, "stranger") == "▌ ○ stranger  99+"


async def test_the_path_yields_to_a_name_and_then_a_name_is_cut():
    app = Surroundings()
    names = ("thirteen_long", "name_of_eighteen_c", "a_name_longer_than_all_space")
    async with app.run_test(size=(120, 34)) as pilot:
        app.show(Around(US, (HARBOUR,), tuple(peer(n, name) for n, name in enumerate(names, 2))))
        await pilot.pause()
        rows = painted(app.sidebar)
    assert "  ● thirteen_long ✓  lan  1ms" in rows
    assert "  ● name_of_eighteen_c ✓  lan" in rows
    assert "  ● a_name_longer_than… ✓ lan" in rows


async def test_a_click_chooses_a_room_or_a_person():
    app = Surroundings()
    async with app.run_test(size=(120, 34)) as pilot:
        app.show(AROUND)
        await pilot.pause()
        for y in (6, 11, 3, 8, 25):  # tides, tomas, the key hint, and two empty rows
            await pilot.click(app.sidebar, offset=(6, y))
        await pilot.pause()
    chosen, person, asked = app.asked
    assert isinstance(chosen, Sidebar.RoomChosen)
    assert chosen.room == rid(3)
    assert isinstance(person, Sidebar.PeerChosen)
    assert (person.key, person.name, person.room) == (key(3), "tomas", rid(103))
    assert isinstance(asked, Edge.Asked)
    assert asked.action == "jump"


async def test_sidebar_keeps_the_current_room_in_view_and_says_what_is_hidden():
    app = Surroundings()
    many = Around(US, tuple(room(n, f"#room-{n}", unread=int(n == 40)) for n in range(1, 41)), ())
    async with app.run_test(size=(120, 24)) as pilot:
        app.show(many, rid(1))
        await pilot.pause()
        rows = painted(app.sidebar)
        assert "▌ # room-1" in rows
        assert row_with(app.sidebar, "more") == "  ↓ 25 more                1"
        for number in (20, 40, 2, 17, 33, 1):
            app.show(many, rid(number))
            await pilot.pause()
            assert f"▌ # room-{number}" in " ".join(painted(app.sidebar)).split("  ↓")[0]
        for _ in range(30):
            app.sidebar.post_message(wheel(app.sidebar))
        await pilot.pause()
        assert row_with(app.sidebar, "↑").startswith("  ↑ ") or row_with(app.sidebar, "↑").startswith("▌ ↑ ")
        assert "↓" not in " ".join(painted(app.sidebar))
        await pilot.click(app.sidebar, offset=(6, 8))
        await pilot.pause()
    (chosen,) = app.asked
    assert isinstance(chosen, Sidebar.RoomChosen)
    assert chosen.room not in (rid(5), rid(6))


def test_rooms_are_numbered_as_the_sidebar_shows_them():
    assert rooms_in_order(AROUND) == [rid(1), rid(2), rid(3), rid(4), rid(102)]
    gone_last = Around(US, (room(102, "@a", peer=2), room(103, "@b", peer=3), HARBOUR), (peer(3, "b"),))
    assert rooms_in_order(gone_last) == [rid(1), rid(103), rid(102)]


def test_next_unread_goes_where_somebody_calls_first_and_around():
    assert next_unread(AROUND, rid(1)) == rid(2)
    assert next_unread(AROUND, rid(2)) == rid(102)
    assert next_unread(AROUND, rid(102)) == rid(2)
    quiet = replace(AROUND, rooms=(HARBOUR, room(3, "#tides", 3), room(4, "#random", 1)))
    assert next_unread(quiet, rid(3)) == rid(4)
    assert next_unread(quiet, rid(4)) == rid(3)
    assert next_unread(quiet, None) == rid(3)
    assert next_unread(replace(quiet, rooms=(HARBOUR,)), rid(1)) is None


# ---------------------------------------------------------------- painting


class CountingSidebar(Sidebar):
    painted: list[int]

    @override
    def render_line(self, y):
        self.painted.append(y)
        return super().render_line(y)


async def test_only_rows_that_have_changed_are_painted_again():
    app = Surroundings()
    app.sidebar = sidebar = CountingSidebar(Looks(DARK), KEYS, clock=lambda: NOW)
    sidebar.painted = []
    async with app.run_test(size=(120, 34)) as pilot:
        app.show(AROUND)
        await pilot.pause()
        sidebar.painted.clear()
        app.show(msgspec.msgpack.decode(msgspec.msgpack.encode(AROUND), type=Around))  # equal, and not the same
        sidebar.redraw()
        await pilot.pause()
        assert sidebar.painted == []
        app.show(replace(AROUND, peers=(*AROUND.peers[:2], peer(3, "tomas", rtt=0.5), KENJI)))
        await pilot.pause()
        assert sidebar.painted == [10]  # tomas


async def test_a_change_of_theme_paints_everything_anew():
    app = Surroundings()
    app.register_theme(textual_theme(LIGHT))
    async with app.run_test(size=(120, 34)) as pilot:
        app.show(AROUND)
        app.activity.typing(Typing(HARBOUR.id, "wren", 3))
        await pilot.pause()
        app.theme = LIGHT.name
        for widget in app.drawn:
            widget.looks = Looks(LIGHT)
        await pilot.pause()
        light = {LIGHT.background, LIGHT.panel, LIGHT.bar, LIGHT.chip, LIGHT.alert}
        for widget in app.drawn:
            size = widget.outer_size
            for strip in widget.render_lines(Region(0, 0, size.width, size.height)):
                for segment in strip:
                    assert segment.style is not None
                    assert segment.style.bgcolor is not None
                    assert segment.style.bgcolor.get_truecolor().hex in light


@pytest.mark.parametrize("palette", [DARK, LIGHT, PLAIN])
async def test_what_a_colour_says_is_said_without_it_too(palette: Palette):
    app = Surroundings(palette)
    async with app.run_test(size=(120, 34)) as pilot:
        app.show(AROUND)
        await pilot.pause()
        said = "\n".join(painted(app.sidebar))
    for word in ("▌ # harbour", "2@", "● maya ✓", "◐ kenji ?", "○ priya", "lan", "relay", "seen"):
        assert word in said


def crowd(text: str) -> tuple[Around, list[RoomId | None]]:
    """Everything that can be named is called `text`; and the rooms to look at."""
    us = replace(US, nick=text, status=text, address=text)
    named = replace(HARBOUR, label=f"#{text}", topic=text, unread=5, mentions=100, missing=(Missing(text, 2),))
    direct = replace(room(102, f"@{text}", unread=5000, peer=2), topic=text)
    people = (
        replace(peer(2, text, unread=500), status=text),
        replace(peer(3, text, presence="away", path=text), status=text),
        peer(4, text, presence="gone", seen=1),
        peer(8, text, verified=False, plain=True),
    )
    return Around(us, (named, direct), people), [named.id, direct.id, None]


@pytest.mark.parametrize("width", [20, 31, 60, 83, 84, 120])
async def test_no_text_of_a_peer_breaks_the_frame(width: int):
    app = Surroundings()
    async with app.run_test(size=(width, 24)) as pilot:
        for narrow in (False, True):
            app.sidebar.display = not narrow
            for widget in app.drawn:
                widget.narrow = narrow
            for text in HOSTILE:
                around, rooms = crowd(text)
                for current in rooms:
                    app.show(around, current)
                    app.activity.typing(Typing(HARBOUR.id, text, 1))
                    await pilot.pause()
                    for widget in app.drawn:
                        size = widget.outer_size
                        if not widget.display or not size:
                            continue
                        strips = widget.render_lines(Region(0, 0, size.width, size.height))
                        assert len(strips) == size.height
                        for strip in strips:
                            assert sum(segment.cell_length for segment in strip) == size.width
                            assert not any(forbidden(char) for char in strip.text)


def test_rows_leave_nothing_to_cut_off():
    for text in HOSTILE:
        around, rooms = crowd(text)
        for widget in (Sidebar(LOOKS, KEYS), Header(LOOKS, KEYS), StatusLine(LOOKS, KEYS)):
            for current in rooms:
                widget.show(around, current)
                for width in (*range(20, 40), 60, 83, 84, 120):
                    for height in (2, 3, 8, 30):
                        assert max(map(extent, widget.rows(width, height))) <= width


# ---------------------------------------------------------------- the header


def header(around: Around, current: RoomId | None, width: int, *, narrow: bool = False) -> str:
    widget = Header(LOOKS, KEYS, clock=lambda: NOW)
    widget.show(around, current)
    widget.narrow = narrow
    return text_of(widget.rows(width, 2)[0]).rstrip()


def test_header_says_what_a_room_is_about_and_who_can_read_it():
    row = header(AROUND, HARBOUR.id, 98)
    assert row.startswith(" # harbour   Saturday on the Sanderling  ")
    assert row.endswith("  OPEN anyone on this network can read")
    # The explanation yields to the topic, the topic to the word.
    assert header(AROUND, HARBOUR.id, 58).startswith(" # harbour   Saturday on the Sanderling  ")
    assert header(AROUND, HARBOUR.id, 58).endswith(" OPEN")
    assert header(AROUND, HARBOUR.id, 34) == " # harbour   Saturday on t…  OPEN"
    assert header(AROUND, HARBOUR.id, 26) == " # harbour           OPEN"


def test_header_of_a_direct_room_says_how_they_are_here_and_whether_they_are_verified():
    around = replace(AROUND, rooms=(*AROUND.rooms, room(105, "@kenji", peer=5), room(107, "@priya", peer=7)))
    assert header(around, rid(102), 80).startswith(" @ maya   ● here  lan 1ms")
    assert header(around, rid(102), 80).endswith("E2E ✓ verified")
    assert header(around, rid(105), 80).startswith(" @ kenji   ◐ away: lunch  relay 81ms")
    assert header(around, rid(105), 80).endswith("E2E not verified yet")
    assert header(around, rid(107), 80).startswith(" @ priya   ○ seen 2h ago")


def test_narrow_header_has_the_unread_of_the_other_rooms_and_the_key():
    assert header(AROUND, HARBOUR.id, 60, narrow=True) == (" # harbour  6 here" + " " * 24 + " 10  2@   ^K jump")
    assert header(AROUND, rid(2), 60, narrow=True).endswith("   5   ^K jump")
    assert header(AROUND, rid(102), 60, narrow=True).startswith(" @ maya  ● here  lan 1ms ")
    assert header(AROUND, HARBOUR.id, 20, narrow=True) == " # harbour  10  2@"
    assert header(AROUND, None, 40, narrow=True).startswith(" no room")


async def test_header_is_one_row_without_a_sidebar_and_its_pills_lead_to_the_rooms():
    app = Surroundings()
    async with app.run_test(size=(60, 20)) as pilot:
        app.show(AROUND)
        app.sidebar.display = False
        app.header.narrow = True
        await pilot.pause()
        assert app.header.outer_size.height == 1
        await pilot.click(app.header, offset=(5, 0))
        await pilot.click(app.header, offset=(50, 0))
        await pilot.pause()
        app.header.narrow = False
        await pilot.pause()
        assert app.header.outer_size.height == 3
        assert painted(app.header)[2] == "─" * 58
    (asked,) = app.asked
    assert isinstance(asked, Edge.Asked)
    assert asked.action == "jump"


# ---------------------------------------------------------------- the status line


def status(around: Around, current: RoomId | None, width: int) -> str:
    widget = StatusLine(LOOKS, KEYS)
    widget.show(around, current)
    return text_of(widget.rows(width, 1)[0]).rstrip()


def test_status_line_says_how_we_are_linked_and_who_can_read_along():
    row = status(AROUND, HARBOUR.id, 120)
    assert row.startswith(" ● lan  1 lan  1 direct  1 relay  │  OPEN anyone on this network can read along  ")
    assert row.endswith("  ^K jump  ^F find  F1 help")
    assert len(row) == 119
    assert "  │  E2E 1 of 1 verified  " in status(AROUND, rid(102), 120)
    assert status(ALONE, HARBOUR.id, 120).startswith(" ○ nobody linked  │  OPEN anyone")
    private = replace(AROUND, rooms=(BIRDS,))
    assert "  │  E2E 1 of 2 verified  " in status(private, BIRDS.id, 120)
    assert "E2E its members alone" in status(replace(private, rooms=(replace(BIRDS, members=()),)), BIRDS.id, 120)


def test_status_line_yields_hints_from_the_left_and_then_details():
    long = " ● lan  1 lan  1 direct  1 relay  │  OPEN anyone on this network can read along"
    assert status(AROUND, HARBOUR.id, 105).endswith("  ^F find  F1 help")
    assert status(AROUND, HARBOUR.id, 97).startswith(long)
    assert status(AROUND, HARBOUR.id, 97).endswith("  F1 help")
    assert "^K" not in status(AROUND, HARBOUR.id, 105)
    assert "^F" not in status(AROUND, HARBOUR.id, 97)
    short = status(AROUND, HARBOUR.id, 84)
    assert short.startswith(" ● lan  1 lan  1 direct  1 relay  │  OPEN  ")
    assert short.endswith("^K jump  ^F find  F1 help")
    assert status(AROUND, HARBOUR.id, NARROW - 1) == " ● lan  OPEN  F1 help"
    assert status(AROUND, rid(102), 60) == " ● lan  E2E 1/1 verified  F1 help"
    assert status(AROUND, rid(102), 21) == " ● lan  E2E  F1 help"


def test_status_line_says_that_somebody_here_does_not_encrypt():
    general = replace(room(9, "#general"), id=PLAIN_ROOM)
    around = Around(US, (general, HARBOUR), (MAYA, peer(8, "old [plain]", verified=False, plain=True)))
    assert "OPEN anyone on this network can read along  │  PLAIN 1 here without encryption" in status(
        around, PLAIN_ROOM, 130
    )
    assert status(around, PLAIN_ROOM, 60) == " ● lan  OPEN  PLAIN  F1 help"
    assert "PLAIN" not in status(around, HARBOUR.id, 130)


@pytest.mark.parametrize(("size", "action"), [((120, 20), "search"), ((60, 20), "help")])
async def test_a_click_on_a_hint_asks_for_its_action(size: tuple[int, int], action: str):
    app = Surroundings()
    async with app.run_test(size=size) as pilot:
        app.show(AROUND)
        await pilot.pause()
        (row,) = painted(app.status)
        at = row.index("^F find" if action == "search" else "F1 help")
        await pilot.click(app.status, offset=(at - 1, 0))
        for offset in (at, at + 6):
            await pilot.click(app.status, offset=(offset, 0))
        await pilot.pause()
    assert [getattr(asked, "action", None) for asked in app.asked] == [action, action]


def test_hints_are_the_persons_own_keys():
    widget = StatusLine(LOOKS, {"jump": "alt+j", "search": (), "help": "f2"})
    widget.show(AROUND, HARBOUR.id)
    assert text_of(widget.rows(120, 1)[0]).endswith("  Alt+J jump  F2 help")
    assert [key_name(key) for key in ("ctrl+k", "f12", "pageup", "ctrl+home", "alt+shift+a", "question_mark")] == [
        "^K",
        "F12",
        "PgUp",
        "^Home",
        "Alt+Shift+A",
        "?",
    ]


# ---------------------------------------------------------------- who is typing


async def test_who_is_typing_is_said_until_they_stop():
    app = Surroundings()
    async with app.run_test(size=(120, 20)) as pilot:
        app.show(AROUND)
        said = []

        async def look() -> None:
            await pilot.pause()
            said.append(painted(app.activity)[0].strip())

        await look()
        for name in ("wren", "maya", "tomas"):
            app.activity.typing(Typing(HARBOUR.id, name, 1))
            app.time += 1
            await look()
        app.activity.typing(Typing(rid(2), "elsewhere", 1))
        app.activity.stopped("maya")
        app.activity.stopped("nobody")
        await look()
        app.time = 100 + TYPING_SECONDS  # wren's time is up, tomas has two seconds left
        app.activity.tick()
        await look()
        app.show(AROUND, rid(2))
        await look()
        app.show(AROUND)
        app.time += TYPING_SECONDS
        app.activity.tick()
        await look()
    assert said == [
        "",
        "wren is typing…",
        "wren and maya are typing…",
        "3 people are typing…",
        "wren and tomas are typing…",
        "tomas is typing…",
        "elsewhere is typing…",
        "",
    ]


@pytest.mark.parametrize(
    ("missing", "fetching", "said"),
    [
        ((Missing("bob", 2),), 0, "2 messages from bob missing, fetching"),
        ((Missing("bob", 1),), 0, "1 message from bob missing, fetching"),
        ((Missing("bob", 2), Missing("wren", 3)), 0, "5 messages from 2 people missing, fetching"),
        ((), 1204, "fetching 1,204 older messages"),
        ((Missing("bob", 2),), 1, "2 messages from bob missing, fetching · fetching 1 older message"),
    ],
)
def test_messages_on_their_way_are_counted(missing: tuple[Missing, ...], fetching: int, said: str):
    activity = Activity(LOOKS)
    activity.show(replace(HARBOUR, missing=missing, fetching=fetching))
    assert text_of(activity.rows(100, 1)[0]) == said


# ---------------------------------------------------------------- empty rooms


def texts(lines: list[Line]) -> list[str]:
    return [text_of(line).strip() for line in lines if line]


def test_an_empty_room_says_how_others_come_here():
    general = replace(room(9, "#general"), others=0)
    assert texts(empty_lines(US, general, None)) == [
        "Nobody here yet.",
        "Others on this network join you with:",
        "sandpiper",
        "Where beacons do not reach:",
        "sandpiper --peer 192.168.1.7:8080",
        "What may be in the way:",
        "sandpiper doctor",
    ]
    assert "sandpiper --peer [fe80::1]:8080 --room harbour" in texts(
        empty_lines(replace(US, address="fe80::1"), ALONE.rooms[0], None)
    )
    quiet = texts(empty_lines(replace(US, multicast=False, address="10.0.0.1:8080"), general, None))
    assert "sandpiper" not in quiet
    assert "sandpiper --peer 10.0.0.1:8080" in quiet
    assert texts(empty_lines(US, HARBOUR, None)) == ["No messages yet.", "Say hello; Enter sends."]


def test_an_empty_direct_room_says_who_can_read_it_and_how_to_be_sure():
    direct = room(102, "@maya", peer=2)
    assert texts(empty_lines(US, direct, MAYA)) == ["Only you and maya can read what is said here."]
    assert "/verify maya" in texts(empty_lines(US, direct, replace(MAYA, verified=False)))
    assert "/verify maya" in texts(empty_lines(US, direct, None))
    old = peer(8, "old [plain]", verified=False, plain=True)
    assert texts(empty_lines(US, room(108, "@old [plain]", peer=8), old)) == [
        "What is said here is not encrypted: old speaks an old dialect."
    ]


@pytest.mark.parametrize("width", [24, 60, 120])
async def test_what_an_empty_room_says_stands_in_its_middle_whole(width: int):
    app = Surroundings()
    async with app.run_test(size=(width, 40)) as pilot:
        app.sidebar.display = False
        app.show(ALONE)
        await pilot.pause()
        rows = painted(app.empty)
        used = [row for row in rows if row]
        above, below = rows.index(used[0]), rows[::-1].index(used[-1])
        assert abs(above - below) <= 1
        said = " ".join(" ".join(rows).split())
        for text in texts(empty_lines(US, ALONE.rooms[0], None)):
            assert text in said
        app.empty.styles.height = "auto"
        await pilot.pause()
        assert app.empty.outer_size.height == len(rows[above : len(rows) - below]) + 2


# ---------------------------------------------------------------- notifications


@pytest.mark.parametrize(
    ("how", "written"),
    [
        ("off", []),
        ("bell", ["\a"]),
        ("osc9", ["\x1b]9;maya in #harbour: see you\x1b\\"]),
        ("osc777", ["\x1b]777;notify;maya in #harbour;see you\x1b\\"]),
    ],
)
def test_a_notification_is_what_the_terminal_understands(how: How, written: list[str]):
    out: list[str] = []
    assert Notifier(how, out.append).notify("maya in #harbour", "see you", 0.0) is bool(written)
    assert out == written


@pytest.mark.parametrize("text", [*HOSTILE, ";;notify;a;b", "\x1b\\\x1b]777;x", "\x07;\x9c"], ids=ascii_start)
def test_a_notification_cannot_be_left_by_its_text(text: str):
    out: list[str] = []
    Notifier("osc777", out.append).notify(text, text, 0.0)
    fields = out[0].removeprefix("\x1b]777;notify;").removesuffix("\x1b\\").split(";")
    assert len(fields) == 2
    for field in fields:
        assert field == "" or field.isprintable()
        assert cells(field) <= 120


def test_a_burst_is_one_notification():
    out: list[str] = []
    notifier = Notifier("bell", out.append)
    assert [notifier.notify("a", "b", at) for at in (10.0, 10.0, 10.0 + PAUSE / 2, 10.0 + PAUSE, 11.0 + PAUSE)] == [
        True,
        False,
        False,
        True,
        False,
    ]
    assert len(out) == 2


def test_only_what_is_for_us_and_not_seen_calls_us():
    direct = room(102, "@maya", peer=2)
    assert deserves(HARBOUR, mentioned=True, focused=False, on_screen=True)
    assert deserves(HARBOUR, mentioned=True, focused=True, on_screen=False)
    assert deserves(direct, mentioned=False, focused=True, on_screen=False)
    assert not deserves(direct, mentioned=True, focused=True, on_screen=True)
    assert not deserves(HARBOUR, mentioned=False, focused=False, on_screen=False)


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("minutes", "said"),
    [
        (0, "1m"),
        (59, "59m"),
        (60, "1h"),
        (24 * 60 - 1, "23h"),
        (24 * 60, "1d"),
        (14 * 24 * 60, "2w"),
        (365 * 24 * 60, "1y"),
        (-5, "1m"),
    ],
)
def test_a_time_ago_is_told_by_its_largest_unit(minutes: int, said: str):
    assert ago(minutes * 60_000) == said


def test_a_round_trip_is_short():
    assert [round_trip(seconds) for seconds in (0.0001, 0.024, 0.9994, 1.24)] == ["1ms", "24ms", "999ms", "1.2s"]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii_start)
def test_a_cut_text_fits_and_says_that_it_is_cut(text: str):
    for width in range(40):
        short = cut(text, width)
        assert cells(short) <= width
        assert not set(short) & set("\n\r\t\u2028")
        if width and cells(text) > width and "\n" not in text:
            assert short.endswith("…")


def test_without_beacons_the_best_path_in_use_says_how_others_are_reached():
    us = replace(US, multicast=False)
    links = [peer(7, "priya", path="relay"), peer(3, "tomas", path="direct"), MAYA]
    said = [mode(Around(us, (HARBOUR,), tuple(links[:count]))) for count in range(4)]
    assert said == ["offline", "relay", "direct", "lan"]
    assert mode(Around(US, (HARBOUR,), ())) == "lan"
