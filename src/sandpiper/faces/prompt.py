"""Line mode on a terminal: a prompt at the bottom, and text above it that never mangles what is being typed.

The prompt runs in a thread of its own, so that a terminal that stands still (a stalled ssh, a suspended tmux) cannot
stop the node. Text is printed by erasing the prompt, writing, and drawing it again in one step on that thread, without
leaving raw mode: prompt_toolkit's own `patch_stdout` goes through cooked mode, in which keys that are struck at that
moment are echoed, and Ctrl+C and Ctrl+D mean something else. The prompt is one for the whole run: between two lines
it is emptied, not ended, so keys that come in a burst are never lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
import time
from typing import TYPE_CHECKING

from prompt_toolkit import PromptSession
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, has_focus
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.renderer import CPR_Support

from sandpiper.faces.completion import common_start, complete
from sandpiper.faces.spans import columns
from sandpiper.faces.terminal import (
    MAX_INPUT_BYTES,
    Ended,
    Inbox,
    Input,
    Outbox,
    PromptState,
    TerminalModes,
    TooLong,
    Typed,
    screen_width,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from prompt_toolkit.formatted_text import StyleAndTextTuples
    from prompt_toolkit.key_binding.key_processor import KeyPressEvent

log = logging.getLogger(__name__)

AGAIN_SECONDS = 3.0  # within which a second Ctrl+C on an empty line quits
CLOSE_SECONDS = 2.0  # how long a terminal that stands still may take at the end
MAX_OFFERED = 60  # completions listed at once


class _Interrupted(Exception):
    """Ctrl+C was pressed twice."""


class Prompt:
    """A `Terminal` at which a person sits."""

    interactive = True

    def __init__(self, skipped: Callable[[int], str], *, coloured: bool) -> None:
        """`skipped` as in `Outbox`."""
        self.coloured = coloured
        self._state = PromptState()
        self._outbox = Outbox(skipped)
        self._inbox = Inbox()
        self._modes = TerminalModes()
        self._interrupted = -AGAIN_SECONDS
        self._aside: str | None = None  # what was being typed when a password was asked for
        self._waking = threading.Lock()
        self._awake = False
        self._closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._session: PromptSession[str]
        self._thread = threading.Thread(target=self._run, name="prompt", daemon=True)

    # ------------------------------------------------------------ Terminal, on the node's loop

    def width(self) -> int | None:
        """See `Terminal`."""
        return screen_width()

    def start(self) -> None:
        """See `Terminal`."""
        self._thread.start()

    def write(self, text: str, *, aside: bool = False) -> None:
        """See `Terminal`. There is one screen for data and narration."""
        self._outbox.put(text)
        with self._waking:
            if self._awake or self._loop is None:
                return
            self._awake = True
        self._on_thread(self._print)

    async def read(self) -> Input:
        """See `Terminal`."""
        return await self._inbox.get()

    def prompt(self, state: PromptState) -> None:
        """See `Terminal`."""
        if state != self._state:
            asked = state.secret != self._state.secret
            self._state = state
            self._on_thread(self._ask if asked else self._redraw)

    def clear(self) -> None:
        """See `Terminal`."""
        self._on_thread(self._clear)

    def give_back(self) -> None:
        """See `Terminal`."""
        self._modes.restore()

    async def close(self) -> None:
        """See `Terminal`."""
        self._outbox.close()
        self._closing = True
        if self._thread.is_alive():
            self._on_thread(self._end)
            await asyncio.to_thread(self._thread.join, CLOSE_SECONDS)
        self._modes.restore()
        if not self._thread.is_alive():
            with contextlib.suppress(OSError, ValueError):
                while pieces := self._outbox.take():
                    print("".join(piece.text for piece in pieces), end="", flush=True)

    def _on_thread(self, call: Callable[[], None]) -> None:
        loop = self._loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended
                loop.call_soon_threadsafe(call)

    # ------------------------------------------------------------ the prompt, on its own thread

    def _run(self) -> None:
        ended = Ended("eof")
        try:
            asyncio.run(self._converse())
        except EOFError:
            pass
        except _Interrupted:
            ended = Ended("interrupt")
        except OSError as exc:
            log.info("the terminal is gone: %s", exc)
            ended = Ended("gone")
        except Exception:
            log.exception("the prompt failed")
            ended = Ended("broken")
        finally:
            self._loop = None
        self._inbox.put(ended, wait=False)

    async def _converse(self) -> None:
        loop = asyncio.get_running_loop()
        session: PromptSession[str] = PromptSession(
            self._message,
            erase_when_done=True,
            history=InMemoryHistory(),
            prompt_continuation="  ",
            key_bindings=self._keys(),
            enable_suspend=True,
            is_password=Condition(lambda: bool(self._state.secret)),
            color_depth=None if self.coloured else ColorDepth.DEPTH_1_BIT,
        )
        self._session = session
        # Nothing here needs to know where the cursor is, and some terminals never answer.
        session.app.renderer.cpr_support = CPR_Support.NOT_SUPPORTED
        self._flush()  # what was written so far stands above the first prompt
        asking = asyncio.ensure_future(session.prompt_async(set_exception_handler=False, handle_sigint=False))

        def failed(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
            """A callback failed: a terminal that is gone shows in whichever writes first."""
            exception = context.get("exception")
            if not isinstance(exception, Exception):
                exception = RuntimeError(str(context.get("message")))
            if session.app.is_running and not session.app.is_done:
                session.app.exit(exception=exception)

        loop.set_exception_handler(failed)
        self._loop = loop
        loop.call_soon(self._end if self._closing else self._print)
        await asking

    def _message(self) -> StyleAndTextTuples:
        state = self._state
        if state.secret:
            return [("bold", state.secret)]
        arrow = "▸" if (sys.stdout.encoding or "").lower().startswith("utf") else ">"
        away = " (away)" if state.away else ""
        return [("bold", state.room or "no room"), ("", f" {state.others}{away} {arrow} ")]

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        typing = has_focus(DEFAULT_BUFFER)

        @keys.add("enter", filter=typing)
        def _(event: KeyPressEvent) -> None:
            buffer = event.current_buffer
            text = buffer.text
            if self._state.secret:
                self._inbox.put(Typed(text), wait=False)
                buffer.reset()
                return
            if text.strip():
                long = len(text.encode("utf-8", "replace")) > MAX_INPUT_BYTES
                self._inbox.put(TooLong() if long else Typed(text), wait=False)
            buffer.reset(append_to_history=bool(text.strip()))
            buffer.load_history_if_not_yet_loaded()  # else only the next drawing does, and Up before it does nothing

        @keys.add("escape", "enter", filter=typing)
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        @keys.add("c-c", filter=typing)
        def _(event: KeyPressEvent) -> None:
            if event.current_buffer.text:
                event.current_buffer.reset()
            elif time.monotonic() - self._interrupted < AGAIN_SECONDS:
                event.app.exit(exception=_Interrupted())
            else:
                self._interrupted = time.monotonic()
                self._above("Press Ctrl+C again to quit; Ctrl+D quits at once.\n")

        @keys.add("tab", filter=typing)
        def _(event: KeyPressEvent) -> None:
            self._tab(event)

        return keys

    def _tab(self, event: KeyPressEvent) -> None:
        """Complete as far as it is clear, and list what is possible otherwise."""
        buffer = event.current_buffer
        if self._state.secret:
            return
        offers = complete(buffer.document.text_before_cursor, self._state)
        if not offers:
            return
        words = [offer.text for offer in offers]
        typed = offers[0].length
        common = common_start(words)
        if len(words) == 1 or len(common) > typed:
            buffer.delete_before_cursor(typed)
            buffer.insert_text(common)
            return
        width = max(columns(word) for word in words[:MAX_OFFERED]) + 1
        across = max(1, screen_width() // width)
        shown = [word.rstrip() for word in words[:MAX_OFFERED]]
        if len(words) > MAX_OFFERED:
            shown.append("…")
        rows = (shown[i : i + across] for i in range(0, len(shown), across))
        self._above("".join("".join(w + " " * (width - columns(w)) for w in row).rstrip() + "\n" for row in rows))

    # ------------------------------------------------------------ drawing

    def _above(self, text: str) -> None:
        """Print whole lines above the prompt."""
        app = self._session.app
        drawn = app.is_running
        if drawn:
            app.renderer.erase(leave_alternate_screen=False)
        app.output.write_raw(text)
        app.output.flush()
        if drawn:
            app.invalidate()

    def _print(self) -> None:
        """Print what is queued, some at a time, so that keys are answered in between."""
        with self._waking:
            self._awake = False
        pieces = self._outbox.take()
        if pieces:
            self._above("".join(piece.text for piece in pieces))
            asyncio.get_running_loop().call_soon(self._print)

    def _ask(self) -> None:
        """A password is asked for, or no longer: a line that was begun waits until it can be gone on with."""
        buffer = self._session.default_buffer
        if self._state.secret and self._aside is None:
            self._aside = buffer.text
            buffer.reset()
        elif not self._state.secret and self._aside is not None:
            buffer.reset()
            buffer.insert_text(self._aside)
            self._aside = None
        self._redraw()

    def _redraw(self) -> None:
        self._session.app.invalidate()

    def _clear(self) -> None:
        self._session.app.renderer.clear()

    def _flush(self) -> None:
        while pieces := self._outbox.take():
            self._above("".join(piece.text for piece in pieces))

    def _end(self) -> None:
        self._flush()
        app = self._session.app
        if app.is_running and not app.is_done:
            app.exit(exception=EOFError())
