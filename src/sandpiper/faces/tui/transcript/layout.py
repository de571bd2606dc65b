"""How an entry looks as lines of styled text, at a width. Pure; the words of styles are those of `themes.Looks`.

Wide: the time (only when it changes), the author's name right-aligned, a bar in the author's colour, the text. On
narrow screens names stand above their text.
"""

from __future__ import annotations

from datetime import date, datetime, tzinfo
from typing import TYPE_CHECKING

from msgspec import Struct

from sandpiper.faces.emojis import How, shown
from sandpiper.faces.people import PLAIN_MARK
from sandpiper.faces.render import grouped, mentions
from sandpiper.faces.spans import Line, Span, columns, excerpt, fold, text_of
from sandpiper.faces.tui.transcript import prose
from sandpiper.faces.tui.transcript.sheet import Block
from sandpiper.faces.tui.views import Place, Who
from sandpiper.wire.ids import PeerKey, RecordId, short

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandpiper.faces.tui.transcript.entries import Entry
    from sandpiper.faces.tui.views import Note
    from sandpiper.store.reader import Message
    from sandpiper.wire.ids import RoomId

STACKED_BELOW = 64  # cells: narrower transcripts have names above their text
NAME_CELLS = (9, 16)  # of names in front of texts, least and most; longer ones are cut, but not their key digits
TIME_CELLS = 5
EDGE = " "  # before the time, so that it does not touch the edge of a line with another ground
GAP_MS = 5 * 60_000  # after which somebody who goes on talking is named again
MAX_LINES = 100  # of one message; a longer one ends with how many are left
MAX_CHOSEN_LINES = 1_000  # of the selected message: all that a person would look at
MIN_CUT_CELLS = 40  # characters a line that a text is cut by on narrow screens: some take no cell
MAX_CHIPS = 20  # kinds of reactions shown below one message


class Setting(Struct, frozen=True):
    """What entries are laid out for. `width` in cells; `zone` None is the machine's own; `me` is our key, `nick` our
    nick; `emoji` as `emojis.shown` takes it; entries behind `read` are new; `chosen` is selected by the person; `bare`:
    nothing but names and texts; `name_cells` is the width of the column of names.
    """

    width: int
    me: PeerKey
    nick: str
    emoji: How = "safe"
    zone: tzinfo | None = None
    read: Place | None = None
    chosen: RecordId | None = None
    bare: bool = False
    name_cells: int = NAME_CELLS[0]

    @property
    def stacked(self) -> bool:
        """Names stand above their text."""
        return self.width < STACKED_BELOW


class Layout:
    """Makes blocks. `who` names authors; `quoted` finds a message that is answered, if it is here."""

    def __init__(
        self,
        setting: Setting,
        who: Callable[[PeerKey], Who | None],
        quoted: Callable[[RoomId, RecordId], Message | None],
    ) -> None:
        self.setting = setting
        self._who = who
        self._quoted = quoted

    def block(self, entry: Entry, before: Entry | None) -> Block:
        """The lines of `entry`, which stands below `before`."""
        lead = self._rules(entry, before)
        fresh = bool(lead)
        if entry.message is not None:
            name, body, marked = self._message(entry, entry.message)
            lines = self._placed(entry, before, name, body, fresh=fresh, marked=marked)
            return Block((*lead, *lines), len(lead), marked)
        assert entry.note is not None
        lines = self._note(entry, entry.note, before, fresh=fresh)
        return Block((*lead, *lines), len(lead))

    # ------------------------------------------------------------ rules between entries

    def _rules(self, entry: Entry, before: Entry | None) -> list[Line]:
        out: list[Line] = []
        day = self._day(entry.time)
        if day is not None and (before is None or self._day(before.time) != day):
            year = "" if day.year == datetime.now(self.setting.zone).year else f" {day.year}"
            out.append(self._rule(f" {day:%A} {day.day} {day:%B}{year} "))
        if self._begins_new(entry, before):
            width = max(0, self.setting.width - 10 - len(EDGE))
            out.append((Span(EDGE), Span("─" * width, "alert"), Span(" new ", "alert"), Span("─" * 3, "alert")))
        return out

    def _begins_new(self, entry: Entry, before: Entry | None) -> bool:
        read = self.setting.read
        if read is None or entry.message is None or entry.place <= read or entry.message.author == self.setting.me:
            return False
        return before is None or before.place <= read or (before.message is None and before.place[0] <= read[0])

    def _rule(self, text: str) -> Line:
        width = self.setting.width - 2 - len(EDGE)
        left = max(2, (width - columns(text)) // 2)
        right = max(2, width - columns(text) - left)
        return (Span(EDGE), Span("─" * left, "rule"), Span(text, "dim bold"), Span("─" * right, "rule"))

    # ------------------------------------------------------------ messages

    def _message(self, entry: Entry, message: Message) -> tuple[Who, list[Line], bool]:
        setting, who = self.setting, self._author(message)
        mine = message.author == setting.me
        marked = not mine and not message.retracted and mentions(message.text, setting.nick)
        width, body = self._body_width(), list[Line]()
        if message.reply_to and not message.retracted:
            body.append(self._quote(message, width))
        if message.retracted:
            body.append((Span("message deleted", "dim italic"),))
            return who, body, False
        tail: list[Span] = []
        if message.edited:
            tail.append(Span(" (edited)", "dim"))
        if mine and entry.members:
            tail.append(self._mark(entry))
        limit = MAX_CHOSEN_LINES if entry.id == setting.chosen else MAX_LINES
        # Before anything that costs: a text of nothing but newlines would be thousands of lines.
        said, left = _cut(message.text, limit, width)
        text = shown(said, setting.emoji)
        style, start = "", list[Span]()
        if message.plain:
            start.append(Span(f"{PLAIN_MARK.strip()} ", "warn"))
        if message.action:
            style = "italic"
            start.append(Span(f"{self._name(who)} ", f"bold nick {who.colour}"))
        found = prose.parts(text, setting.nick, style)
        above = len(body)
        for i, part in enumerate(found):
            if part.kind == "code":
                body += _code(part.lines, width)
                continue
            first = start if i == 0 else ()
            last = tuple(tail) if i == len(found) - 1 and not left else ()
            folded = fold((*first, *part.spans, *last), width, 0, least=1)
            body += [*folded[:-1], tuple(Span(one.text.replace("\xa0", " "), one.style) for one in folded[-1])]
        if found[-1].kind == "code" and tail and not left:
            body.append(tuple(tail))
        if left or len(body) - above > limit:
            left += max(0, len(body) - above - (limit - 1))
            del body[above + limit - 1 :]
            more = Span(f"… {left} more line{'' if left == 1 else 's'}", "dim")
            folded = fold((more, *tail), width, 0, least=1)
            body += [tuple(Span(one.text.replace("\xa0", " "), one.style) for one in line) for line in folded]
        if message.reactions:
            body += self._reactions(message, width)
        return who, body, marked

    def _mark(self, entry: Entry) -> Span:
        """How far a message of ours has come; spaces that do not break keep it with the last word."""
        delivered, members = entry.delivered, entry.members
        chosen = f" {delivered} of {members} have it" if entry.id == self.setting.chosen else ""
        if delivered >= members:
            return Span(f"\xa0\xa0✓✓{chosen}", "good")
        return Span(f"\xa0\xa0{'✓' if delivered else '…'}{chosen}", "dim")

    def _quote(self, message: Message, width: int) -> Line:
        target = self._quoted(message.room, RecordId(message.reply_to))
        if target is None:
            return (Span("╭ ", "faint"), Span("an earlier message", "quote"))
        who = self._author(target)
        begin = target.text[: width * 16]  # of hostile length
        text = "message deleted" if target.retracted else shown(prose.plain(begin), self.setting.emoji)
        name = excerpt(self._name(who), max(1, width - 3))
        left = width - 3 - columns(name)
        out = [Span("╭ ", "faint"), Span(name, f"bold nick {who.colour}")]
        if left > 3:
            out.append(Span(f" {excerpt(text, left)}", "quote"))
        return tuple(out)

    def _reactions(self, message: Message, width: int) -> list[Line]:
        counts: dict[str, int] = {}
        ours = set()
        for reaction in message.reactions:
            counts[reaction.emoji] = counts.get(reaction.emoji, 0) + 1
            if reaction.author == self.setting.me:
                ours.add(reaction.emoji)
        lines: list[list[Span]] = [[]]
        used = 0
        found = list(grouped(counts))
        for emoji, count in found[:MAX_CHIPS]:
            label = excerpt(shown(emoji, self.setting.emoji), max(1, width - 6))
            chip = [Span(f" {label} ", "chip"), Span(f"{count} ", "count" if emoji in ours else "chip")]
            size = columns(text_of(tuple(chip))) + 1
            if used and used + size > width:
                lines.append([])
                used = 0
            lines[-1] += [*chip, Span(" ")]
            used += size
        if len(found) > MAX_CHIPS:
            more = f"+{len(found) - MAX_CHIPS}"
            if used and used + len(more) > width:
                lines.append([])
            lines[-1].append(Span(more, "dim"))
        return [tuple(line) for line in lines]

    # ------------------------------------------------------------ notes

    def _note(self, entry: Entry, note: Note, before: Entry | None, *, fresh: bool) -> list[Line]:
        sign, style = {"event": ("·", "dim"), "reply": ("▸", ""), "trouble": ("!", "warn")}[note.kind]
        width, body = self._body_width(), list[Line]()
        for line in note.lines:
            spans = tuple(Span(shown(span.text, self.setting.emoji), span.style or style) for span in line)
            body += fold(spans, width, 2 if note.kind == "reply" and width > 40 else 0, least=1)
        gutter = Who(sign, 0)
        return self._placed(entry, before, gutter, body, fresh=fresh, sign_style=style or "dim")

    # ------------------------------------------------------------ gutters

    def _body_width(self) -> int:
        setting = self.setting
        if setting.bare:
            return setting.width
        gutter = 2 if setting.stacked else len(EDGE) + TIME_CELLS + setting.name_cells + 4
        return max(8, setting.width - gutter - 1)

    def _placed(
        self,
        entry: Entry,
        before: Entry | None,
        who: Who,
        body: list[Line],
        *,
        fresh: bool,
        marked: bool = False,
        sign_style: str = "",
    ) -> list[Line]:
        """Body lines with what stands to their left; `marked`: they mention us."""
        message = entry.message
        clock = self._clock(entry.time)
        same_time = before is not None and not fresh and self._clock(before.time) == clock
        goes_on = not fresh and _goes_on(entry, before)
        colour = f"nick {who.colour}" if message is not None else "rule"
        bar = Span("▌", "accent") if marked else Span("│", colour)
        name_style = sign_style or (f"tag {who.colour}" if marked else f"bold {colour}")
        if self.setting.bare:
            name = f"{self._name(who)}: " if message is not None and not message.action else ""
            first = (Span(name, f"bold {colour}" if name else ""), *body[0])
            return [*fold(first, self.setting.width, 0, least=1), *body[1:]]
        if self.setting.stacked:
            return self._stacked(entry, who, body, clock, bar, name_style, goes_on and same_time)
        cells = self.setting.name_cells
        name = "" if goes_on else _short(self._name(who), cells)
        pad = " " * (cells + 1 - columns(name))
        out: list[Line] = []
        for i, line in enumerate(body):
            if i == 0:
                time = Span(EDGE + (" " * TIME_CELLS if same_time else clock), "dim")
                if marked and name:
                    label: tuple[Span, ...] = (Span(pad[:-1]), Span(f" {name} ", name_style))
                else:
                    label = (Span(pad), Span(name, name_style), Span(" "))
                out.append((time, *label, bar, Span(" "), *line))
            else:
                out.append((Span(" " * (len(EDGE) + TIME_CELLS + cells + 2)), bar, Span(" "), *line))
        return out

    def _stacked(
        self, entry: Entry, who: Who, body: list[Line], clock: str, bar: Span, name_style: str, goes_on: bool
    ) -> list[Line]:
        lines = [(bar, Span(" "), *line) for line in body]
        if goes_on:
            return lines
        name = _short(self._name(who), max(4, self.setting.width - 12))
        if name_style.startswith("tag"):
            name = f" {name} "
        if entry.message is None:
            return [(Span(name, name_style), Span(" "), *body[0]), *lines[1:]]
        return [(bar, Span(" "), Span(name, name_style), Span(f"  {clock}", "dim")), *lines]

    def _author(self, message: Message) -> Who:
        """Who said it; somebody who was not named goes by what their records say, and by their key."""
        return self._who(message.author) or Who(f"{message.nick}~{short(message.author)[:4]}", message.author[0])

    def _name(self, who: Who) -> str:
        return shown(who.name.removesuffix(PLAIN_MARK), self.setting.emoji)

    # ------------------------------------------------------------ time

    def _clock(self, time_ms: int) -> str:
        when = self._when(time_ms)
        return "??:??" if when is None else f"{when:%H:%M}"

    def _day(self, time_ms: int) -> date | None:
        when = self._when(time_ms)
        return None if when is None else when.date()

    def _when(self, time_ms: int) -> datetime | None:
        try:
            return datetime.fromtimestamp(time_ms / 1000, self.setting.zone)
        except (OverflowError, OSError, ValueError):  # a clock that is centuries off
            return None


def _goes_on(entry: Entry, before: Entry | None) -> bool:
    """True when the same person goes on talking."""
    if before is None or entry.message is None or before.message is None:
        return False
    now, then = entry.message, before.message
    return now.author == then.author and now.plain == then.plain and 0 <= now.time - then.time < GAP_MS


def _short(name: str, width: int) -> str:
    """A name in at most `width` cells; the digits that tell it from a namesake stay."""
    if columns(name) <= width:
        return name
    at = name.rfind("~")
    if at > 0 and columns(name[at:]) < width:
        return excerpt(name[:at], width - columns(name[at:])) + name[at:]
    return excerpt(name, width)


def _cut(text: str, limit: int, width: int) -> tuple[str, int]:
    """The beginning of a text, enough for `limit` lines, and about how many lines are left (0: nothing is)."""
    end = min(len(text), limit * max(width, MIN_CUT_CELLS))
    at = -1
    for _ in range(limit):
        at = text.find("\n", at + 1, end)
        if at < 0:
            break
    else:
        end = at
    rest = text[end:]
    return text[:end], max(1, rest.count("\n"), len(rest) // max(1, width)) if rest else 0


def _code(lines: tuple[str, ...], width: int) -> list[Line]:
    """A block of code: one background behind all its lines; lines are broken anywhere."""
    inner = max(1, width - 2)
    broken: list[str] = []
    for line in lines:
        # Spaces count in code: fold keeps them only when it does not see them.
        pieces = fold((Span(line.replace("\t", "    ").replace(" ", "\xa0")),), inner, 0, least=1)
        broken += [text_of(piece).replace("\xa0", " ") for piece in pieces]
    widest = max((columns(line) for line in broken), default=0)
    return [(Span(f" {line}{' ' * (widest - columns(line) + 1)}", "code"),) for line in broken]
