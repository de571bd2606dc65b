"""Asking for a code on a terminal: the Tab key completes its words, and a slip is told before anything is sent."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import Completer, Completion
from prompt_toolkit.history import DummyHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.output import ColorDepth, create_output
from prompt_toolkit.renderer import CPR_Support
from typing_extensions import override

from sandpiper.crypto.codes import BadCode, complete, parse_code, suggest
from sandpiper.faces.completion import common_start
from sandpiper.faces.invitation import read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.document import Document
    from prompt_toolkit.key_binding.key_processor import KeyPressEvent

TRIES = 5  # wrong codes until the prompt gives up, as somebody who pastes the wrong thing would
ASKED = "Code (Tab completes words): "


class _Words(Completer):
    """The words that a code can go on with."""

    @override
    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        before = document.text_before_cursor
        for offer in complete(before):
            yield Completion(offer, -len(before), display=offer.split("-")[-2] if offer.endswith("-") else None)


def _keys() -> KeyBindings:
    """Tab completes at once as far as it is clear: what is typed right behind it comes behind what it has put there."""
    keys = KeyBindings()

    @keys.add("tab")
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        before = buffer.document.text_before_cursor
        offers = list(complete(before))
        common = common_start(offers) if offers else ""
        if len(common) > len(before):
            buffer.delete_before_cursor(len(before))
            buffer.insert_text(common)
        elif offers:
            buffer.start_completion()

    return keys


def ask_code() -> str | None:
    """The code that the person types, or a pasted invitation; None: they would rather not. It is asked on stderr, and
    kept in no history. What is no code is told, and asked again; after `TRIES` of them it is given back as it is.
    """
    output = create_output(stdout=sys.stderr)
    session: PromptSession[str] = PromptSession(
        ASKED,
        completer=_Words(),
        complete_while_typing=False,
        key_bindings=_keys(),
        history=DummyHistory(),
        output=output,
        color_depth=ColorDepth.DEPTH_1_BIT,
    )
    session.app.renderer.cpr_support = CPR_Support.NOT_SUPPORTED  # some terminals never answer
    typed = ""
    for _ in range(TRIES):
        try:
            typed = session.prompt()
        except (EOFError, KeyboardInterrupt):
            return None
        code = read(typed).code
        try:
            parse_code(code)
        except BadCode as exc:
            print(suggest(code) or exc.sentence(), file=sys.stderr)
            continue
        break
    return typed
