"""What a setting may be: each rule reads text or a TOML value, and says what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable

from msgspec import Struct

from sandpiper.config.addresses import Address, is_ip, read_address
from sandpiper.config.quoting import shown

MAX_RELAY_SETTING = 300  # a host name has at most 253 characters
MAX_TEXT_SETTING = 64  # twice a nick: a longer one is a paste by mistake


class Rule(Struct, frozen=True):
    """What a setting is for and what it may be. `parse` takes text or a TOML value and raises ValueError."""

    about: str
    allowed: str
    parse: Callable[[object], object]


def text(about: str) -> Rule:
    """One line of text."""

    def parse(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError("it is not text")
        if len(value.strip()) > MAX_TEXT_SETTING or not value.strip().isprintable():
            raise ValueError("it is too long or has control characters")
        return value.strip()

    return Rule(about, f"text of at most {MAX_TEXT_SETTING} characters on one line", parse)


def number(about: str, low: int, high: int, kind: type[int] | type[float] = int) -> Rule:
    """A number from `low` to `high`, both allowed."""
    name = "whole number" if kind is int else "number"

    def parse(value: object) -> int | float:
        if isinstance(value, bool) or not isinstance(value, str | int | kind):
            raise ValueError(f"it is not a {name}")
        try:
            number = kind(value)
        except (ValueError, OverflowError):
            raise ValueError(f"it is not a {name}") from None
        if not low <= number <= high:
            raise ValueError("it is out of range")
        return number

    return Rule(about, f"a {name} from {low} to {high}", parse)


def choice(about: str, *words: str) -> Rule:
    """One of these lower-case words, however it is capitalised."""

    def parse(value: object) -> str:
        if not isinstance(value, str) or value.strip().lower() not in words:
            raise ValueError("it is none of the choices")
        return value.strip().lower()

    return Rule(about, " or ".join(word or "empty" for word in words), parse)


def switch(about: str) -> Rule:
    """True or false in the usual words."""
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}

    def parse(value: object) -> bool:
        if str(value).strip().lower() not in words or not isinstance(value, str | bool):
            raise ValueError("it is neither true nor false")
        return words[str(value).strip().lower()]

    return Rule(about, "true or false (also yes/no, on/off, 1/0)", parse)


def place(about: str, *, multicast: bool = False) -> Rule:
    """An address; with `multicast` that of an IPv4 group."""

    def parse(value: object) -> Address:
        if not isinstance(value, str | Address):
            raise ValueError("it is not text")
        found = read_address(str(value))
        if multicast and not is_ip(found.host, 4, multicast=True):
            raise ValueError(f"{shown(found.host)} is not an IPv4 multicast group")
        return found

    group = "ADDR:PORT with ADDR from 224.0.0.0 to 239.255.255.255"
    return Rule(about, group if multicast else "HOST:PORT, as 192.168.1.20:8080 or [::1]:8080", parse)


def relay(about: str) -> Rule:
    """Where a relay is. Only the form: what else must hold is known to whoever goes there."""

    def parse(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError("it is not text")
        where = value.strip()
        if not re.fullmatch(rf"[!-~]{{1,{MAX_RELAY_SETTING}}}", where):
            raise ValueError("it is too long or has signs that no address has")
        return where

    return Rule(about, "HOST or HOST:PORT, also with tls:// or wss:// in front", parse)


def key_change(about: str) -> Rule:
    """Another key for an action, as `jump=ctrl+g`. Only the form: which actions there are is known to the face."""

    def parse(value: object) -> str:
        if not isinstance(value, str):
            raise ValueError("it is not text")
        change = value.strip()
        if not re.fullmatch(r"[a-z_-]+=[^,\s]*", change):
            raise ValueError(f"{shown(change)} is not an action, = and a key")
        if len(change) > MAX_TEXT_SETTING or not change.isprintable():
            raise ValueError("it is too long or has control characters")
        return change

    return Rule(about, "ACTION=KEY, as jump=ctrl+g; with nothing behind the = the action has no key", parse)


def many(one: Rule) -> Rule:
    """A list of what `one` allows; as text with commas between."""

    def parse(value: object) -> tuple[object, ...]:
        if not isinstance(value, str | list | tuple) or isinstance(value, Address):
            raise ValueError("it is not a list")
        items = value.split(",") if isinstance(value, str) else value
        return tuple(one.parse(item) for item in items if not isinstance(item, str) or item.strip())

    return Rule(one.about, f"a list (or values with commas between) of {one.allowed}", parse)
