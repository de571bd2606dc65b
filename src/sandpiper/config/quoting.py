"""How an error text quotes the value that is wrong."""

from __future__ import annotations


def shown(value: object) -> str:
    """`value` as an error text may quote it: escaped, and cut when long."""
    text = ", ".join(map(str, value)) if isinstance(value, tuple | list) else repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
