"""The full-screen program: its life from the first paint to the last goodbye, whatever happens in between.

The node runs backstage, in a thread of its own, and nothing here waits for it. `run` holds both together.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from msgspec.structs import replace
from textual import events
from textual.app import App
from textual.message import Message
from typing_extensions import override

from sandpiper.errors import ConfigError, SandpiperError, UsageError
from sandpiper.faces.signals import EXIT_INTERRUPTED
from sandpiper.faces.tui.chat import Chat
from sandpiper.faces.tui.guard import LastNet
from sandpiper.faces.tui.keys import bindings, chosen_keys, keymap
from sandpiper.faces.tui.notify import Notifier
from sandpiper.faces.tui.palettes import PALETTES
from sandpiper.faces.tui.terminal import Signals, mend_input, mend_size
from sandpiper.faces.tui.themes import Looks, textual_theme
from sandpiper.faces.tui.views import Ended, Said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import RenderableType
    from textual.binding import BindingType
    from textual.filter import LineFilter
    from textual.screen import ModalScreen

    from sandpiper.faces.emojis import How as EmojiHow
    from sandpiper.faces.settings import TuiSettings
    from sandpiper.faces.tui.backstage import NodeBackstage
    from sandpiper.faces.tui.notify import How as CallBy
    from sandpiper.faces.tui.views import Update
    from sandpiper.node.notices import CodePassword

log = logging.getLogger(__name__)

PIECE = 16  # messages that are taken before keys are looked at: a few milliseconds
AGAIN_SECONDS = 3.0  # within which a second Ctrl+C on an empty line quits

Result = TypeVar("Result")


class SandpiperApp(App[int]):
    """See the module; its result is the exit code. `save` keeps a setting for the next time; it may wait for a disk."""

    TITLE = "sandpiper"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = bindings(of_app=True)

    class Told(Message):
        """The backstage has something to tell. Posted from its thread."""

        def __init__(self, updates: Sequence[Update]) -> None:
            super().__init__()
            self.updates = updates

    class More(Message):
        """There is more to take of what was told."""

    def __init__(
        self, backstage: NodeBackstage, settings: TuiSettings, save: Callable[[str, str], None] | None = None
    ) -> None:
        mend_input()
        mend_size()
        super().__init__()
        self._odd_keys: ConfigError | None = None
        self._told: deque[tuple[Update, bool]] = deque()  # and not taken yet; True: more of it follows
        self.panicked = False
        """Textual could not go on, and ended."""
        self._backstage = backstage
        self.looks = Looks(PALETTES[settings.theme], cast("EmojiHow", settings.emoji))
        """What everything looks like now."""
        try:
            keys = chosen_keys(settings.keys)
        except ConfigError as exc:  # the usual keys, and a word about it, rather than no chat
            settings, self._odd_keys = replace(settings, keys=()), exc
            keys = chosen_keys()
        self._settings = settings
        self._save = save
        self._net = LastNet()
        self._early_keys: list[events.Key] | None = []  # None: there is a screen now
        self._interrupted = -AGAIN_SECONDS
        self._notifier = Notifier(cast("CallBy", settings.notify), self._to_terminal)
        for palette in PALETTES.values():
            self.register_theme(textual_theme(palette))
        self.theme = PALETTES[settings.theme].name
        self.set_keymap(keymap(keys))

    @override
    def get_default_screen(self) -> Chat:
        """The chat is all there is."""
        return Chat(self._backstage, self._settings, self.looks, self._notifier)

    @property
    def chat(self) -> Chat:
        """The screen below all dialogs."""
        screen = self.screen_stack[0]
        assert isinstance(screen, Chat)
        return screen

    # ------------------------------------------------------------ life

    def on_mount(self) -> None:
        """Paint first; then begin."""
        self._signals = Signals(self)
        self.call_after_refresh(self._begin)

    @override
    async def on_event(self, event: events.Event) -> None:
        """Keep what is struck before there is a screen to strike it into."""
        if isinstance(event, events.Key):
            if self._early_keys is not None:
                self._early_keys.append(event)
                return
            self._backstage.struck()
        await super().on_event(event)

    @override
    def post_display_hook(self) -> None:
        """Something was painted."""
        self._backstage.painted()

    def _begin(self) -> None:
        early, self._early_keys = self._early_keys or [], None
        for key in early:
            self.post_message(key)
        self._backstage.start(self._tell, Asking(self))

    def _tell(self, updates: tuple[Update, ...]) -> None:
        """In the thread of the backstage."""
        self.post_message(self.Told(updates))

    def on_sandpiper_app_told(self, told: Told) -> None:
        """The backstage has something to tell."""
        waiting = bool(self._told)
        for update in told.updates:
            self._told.extend(_pieces(update))
        if not waiting:
            self._take_told()

    async def on_sandpiper_app_more(self) -> None:
        """The keys that were struck meanwhile are dealt with: go on."""
        await asyncio.sleep(0)  # Textual does not: as long as there are messages to the app, no widget gets a turn
        self._take_told()

    def _take_told(self) -> None:
        """Take what was told: all but a burst of messages, of which a piece at a time, so that no key waits for it."""
        while self._told:
            update, unfinished = self._told.popleft()
            if isinstance(update, Ended):
                self.leave(update.code)
            else:
                self.chat.take(update, unfinished=unfinished)
            if unfinished:
                self.post_message(self.More())
                break
        if self._odd_keys is not None and self.chat.room is not None:
            self.chat.say(str(self._odd_keys), self._odd_keys.hint)
            self._odd_keys = None

    def leave(self, code: int = 0) -> None:
        """End with this exit code; whoever runs the app then has the node say goodbye."""
        self.exit(code, return_code=code)

    @override
    def panic(self, *renderables: RenderableType) -> None:
        """Textual cannot go on; `run` says so."""
        self.panicked = True
        super().panic(*renderables)

    @override
    async def action_quit(self) -> None:
        """Say goodbye and end."""
        self.leave()

    async def action_turn(self, action: str) -> None:
        """See `Chat.action_turn`."""
        await self.chat.action_turn(f"app.{action}")

    async def action_copy_selection(self) -> None:
        """Ctrl+C: copy what is selected; otherwise clear what is typed; otherwise, twice, end."""
        chat = self.chat
        selected = self.screen.get_selected_text()
        if selected:
            self.copy_to_clipboard(selected)
            self.screen.clear_selection()
            self.notify("Copied.", timeout=2, markup=False)
            return
        if self.screen is not chat:  # a dialog
            await self.screen.dismiss(None)
            return
        if chat.composer.wipe():
            return
        now = time.monotonic()
        if now - self._interrupted < AGAIN_SECONDS:
            self.leave(EXIT_INTERRUPTED)
            return
        self._interrupted = now
        self.notify("Ctrl+C once more quits.", timeout=AGAIN_SECONDS, markup=False)

    # ------------------------------------------------------------ what the terminal gets

    @override
    def get_line_filters(self) -> Sequence[LineFilter]:
        """Textual's, and behind all of them the last net."""
        return [*super().get_line_filters(), self._net]

    def _to_terminal(self, text: str) -> None:
        if self._driver is not None:
            self._driver.write(text)

    # ------------------------------------------------------------ settings that can be changed here

    def action_theme(self, name: str) -> None:
        """Another theme, from now on."""
        self.theme = PALETTES[name].name
        self.looks = Looks(PALETTES[name], self.looks.emoji)
        self.chat.set_looks(self.looks)
        self._keep("theme", name)

    def action_emoji(self, how: EmojiHow) -> None:
        """Show emoji in another way, from now on."""
        self.looks = Looks(self.looks.palette, how)
        self.chat.set_looks(self.looks)
        self._keep("emoji", how)

    def action_call_by(self, how: CallBy) -> None:
        """Call the person in another way, from now on."""
        self._notifier.how = how
        self._keep("notify", how)

    def _keep(self, name: str, value: str) -> None:
        if self._save is not None:
            self.run_worker(self._kept(self._save, name, value), group="settings")

    async def _kept(self, save: Callable[[str, str], None], name: str, value: str) -> None:
        try:
            await asyncio.to_thread(save, name, value)
        except SandpiperError as exc:
            self.chat.say(f"The setting holds until the end of this run only: {exc}", exc.hint)


def _pieces(update: Update) -> Iterator[tuple[Update, bool]]:
    """An update in pieces that take no longer than a key may wait; True: another one follows."""
    if not isinstance(update, Said):
        yield update, False
        return
    for at in range(0, len(update.messages), PIECE):
        yield replace(update, messages=update.messages[at : at + PIECE]), at + PIECE < len(update.messages)


class Asking:
    """How the backstage asks the person (`views.Ask`): its thread waits for the answer to a dialog."""

    def __init__(self, app: SandpiperApp) -> None:
        self._app = app

    def nick(self, suggested: str) -> str:
        """See `Ask`."""
        from sandpiper.faces.tui.dialogs.ask import NickDialog

        answer = self._answer(NickDialog(suggested))
        if answer is None:
            raise UsageError("No nick was chosen, so nothing was begun.", hint="Start sandpiper again when you like.")
        return answer

    def passphrase(self, prompt: str) -> str:
        """See `Ask`."""
        from sandpiper.faces.tui.dialogs.ask import PassphraseDialog

        return self._answer(PassphraseDialog(prompt)) or ""

    def password(self, wanted: CodePassword) -> str:
        """See `Ask`."""
        from sandpiper.faces.tui.dialogs.ask import CODE_PASSWORD, PasswordDialog

        return self._answer(PasswordDialog(wanted.label, wanted.text, about=CODE_PASSWORD)) or ""

    def _answer(self, dialog: ModalScreen[Result]) -> Result | None:
        answers: list[Result | None] = []

        async def ask() -> None:
            answered: asyncio.Future[Result | None] = asyncio.get_running_loop().create_future()
            await self._app.push_screen(dialog, answered.set_result)
            answers.append(await answered)

        with contextlib.suppress(concurrent.futures.CancelledError):  # the person has left
            self._app.call_from_thread(ask)  # type: ignore[arg-type]  # its types leave coroutines out
        return answers[0] if answers else None
