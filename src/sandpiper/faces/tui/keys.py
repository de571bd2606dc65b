"""The keys of the screen, as one table: what each action is called, what it does, and which keys do it.

People change keys with the setting `keys`, a list of `action=key` (`jump=ctrl+g`); several keys for one action are
separated by `/`, and an empty key takes the action's keys away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct
from textual.binding import Binding
from textual.keys import Keys

from sandpiper.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from textual.binding import BindingType


class Key(Struct, frozen=True):
    """One row: `keys` as Textual spells them; `label` for the key hints (empty: not hinted)."""

    action: str
    keys: tuple[str, ...]
    help: str
    label: str = ""


KEYS: tuple[Key, ...] = (
    Key("jump", ("ctrl+k",), "jump to a room, a person, a command or a message", "jump"),
    Key("search", ("ctrl+f",), "search the history", "find"),
    Key("help", ("f1",), "all keys and commands", "help"),
    Key("next_unread", ("alt+a",), "go to the next unread room, mentions first"),
    Key("next_room", ("alt+down",), "go to the next room"),
    Key("previous_room", ("alt+up",), "go to the room above"),
    Key("page_up", ("pageup",), "scroll back"),
    Key("page_down", ("pagedown",), "scroll forward"),
    Key("oldest", ("ctrl+home",), "go to the first message"),
    Key("newest", ("ctrl+end",), "go to the last message"),
    Key("bare", ("alt+l",), "show the transcript alone, for copying with the terminal's own selection"),
    Key("copy_selection", ("ctrl+c",), "copy what is selected with the mouse; otherwise clear the line, twice: quit"),
    Key("quit", ("ctrl+q",), "say goodbye and end"),
)
"""Alt+1 to Alt+9 go to a room by its number, and are not in the table."""


APP_ACTIONS = ("copy_selection", "quit")
"""Actions that work in dialogs, too; all others are the chat screen's."""


def bindings(*, of_app: bool) -> list[BindingType]:
    """The bindings of the app or of the chat screen, before a person's changes; `keymap` goes by their ids.

    Actions take their turn behind what was typed before (`Chat.action_turn`).
    """
    return [
        Binding(",".join(row.keys), f"turn('{row.action}')", row.help, show=False, priority=True, id=row.action)
        for row in KEYS
        if (row.action in APP_ACTIONS) == of_app
    ]


_FIXED = {
    *(f"alt+{n}" for n in range(1, 10)),
    *("enter", "shift+enter", "alt+enter", "ctrl+j", "tab", "shift+tab", "escape", "up", "down", "left", "right"),
    *("backspace", "delete", "home", "end", "space"),
}
"""Keys that have a meaning of their own."""
_NO_KEY = "no-key"  # what an action without keys is bound to: Textual takes an empty entry for none at all
_MODIFIERS = {"ctrl", "alt", "shift", "super", "hyper", "meta"}


def chosen_keys(changes: Iterable[str] = ()) -> dict[str, tuple[str, ...]]:
    """The keys of every action with a person's changes, each as `action=key` or `action=key/key`; an empty key takes
    the action's keys away.

    Raises:
        ConfigError: a change names no action, no key, or a key that is taken.
    """
    keys = {row.action: row.keys for row in KEYS}
    for change in changes:
        action, equals, wanted = change.partition("=")
        action = action.strip().replace("-", "_")
        if action not in keys or not equals:
            raise _refused(f"{change!r} changes no key", f"For example: jump=ctrl+g. Actions: {', '.join(keys)}.")
        keys[action] = tuple(key.strip() for key in wanted.split("/") if key.strip())
        for key in keys[action]:
            if not _is_key(key):
                raise _refused(f"{key!r} is no key", "For example: ctrl+g, alt+s, f5, pageup.")
            if key in _FIXED:
                raise _refused(f"{key} has a meaning of its own", "Take another key, for example ctrl+g or f5.")
    owner: dict[str, str] = {}
    for action, chosen in keys.items():
        for key in chosen:
            if owner.setdefault(key, action) != action:
                raise _refused(f"{key} is given to both {owner[key]} and {action}", "Give one of them another key.")
    return keys


def _is_key(text: str) -> bool:
    *modifiers, key = text.split("+")
    known = {each.value for each in Keys}
    return all(each in _MODIFIERS for each in modifiers) and (key in known or (len(key) == 1 and bool(modifiers)))


def _refused(what: str, hint: str) -> ConfigError:
    return ConfigError(f"The setting keys: {what}.", hint=hint, code="bad_setting")


def keymap(keys: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """`keys` for Textual's `App.set_keymap`."""
    return {action: ",".join(chosen) or _NO_KEY for action, chosen in keys.items()}
