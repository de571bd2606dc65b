"""What takes more than a key: dialogs, and what is done with their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, assert_never

from msgspec.structs import replace

from sandpiper.faces.spans import Span, excerpt
from sandpiper.faces.tui.drafts import Draft
from sandpiper.faces.tui.keys import APP_ACTIONS, KEYS
from sandpiper.faces.tui.transcript.prose import plain
from sandpiper.faces.tui.wording import find_room, key_name
from sandpiper.wire.ids import short

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from textual.screen import ModalScreen

    from sandpiper.faces.tui.chat import Chat
    from sandpiper.faces.tui.dialogs.joining import JoiningDialog
    from sandpiper.faces.tui.dialogs.jump import Target
    from sandpiper.faces.tui.dialogs.search import Hit
    from sandpiper.faces.tui.views import Invited, OtherKey
    from sandpiper.faces.verifying import Comparison
    from sandpiper.node.notices import CodePassword, PasswordWanted
    from sandpiper.store.reader import Message
    from sandpiper.wire.ids import PeerKey, RoomId

CHOICES = {
    "theme('dark')": "dark theme",
    "theme('light')": "light theme",
    "theme('none')": "theme without colours",
    "emoji('safe')": "emoji: joined ones apart, safe on every terminal",
    "emoji('joined')": "emoji: as sent, for terminals that join them",
    "emoji('codes')": "emoji: as :names:",
    "call_by('bell')": "notifications: the terminal's bell",
    "call_by('osc9')": "notifications: by OSC 9 (iTerm2, Windows Terminal, kitty …)",
    "call_by('osc777')": "notifications: by OSC 777 (foot, urxvt, GNOME Terminal …)",
    "call_by('off')": "notifications: none",
}
"""Settings that can be chosen here, and are kept."""
Result = TypeVar("Result")

EXCERPT_CELLS = 60  # of a message that is answered or deleted, as far as it is shown again


class Flows:
    """Dialogs of one chat screen. Dialogs are loaded when they are first needed: the first paint does not wait."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._joining: JoiningDialog | None = None

    def _open(
        self,
        dialog: ModalScreen[Result],
        answered: Callable[[Result | None], object] | None = None,
        *,
        after: bool = False,
    ) -> None:
        """Open a dialog. What was typed before the person can have seen it was meant for the composer, and goes back
        there before the answer is heeded, which may lead to another room (`after`: behind it).
        """

        def closed(result: Result | None) -> object:
            early: str = "".join(getattr(dialog, "early", ()))
            if early and not after:
                self._chat.composer.insert_paste(early)
            outcome = answered(result) if answered is not None else None
            if early and after:
                self._chat.composer.insert_paste(early)
            return outcome

        self._chat.call_later(self._chat.app.push_screen, dialog, closed)

    # ------------------------------------------------------------ going elsewhere

    def jump(self, keys: Mapping[str, str]) -> None:
        """Ctrl+K."""
        from sandpiper.faces.tui.dialogs.jump import Action, JumpDialog

        chat = self._chat
        if chat.around is None:
            return
        hints = {action: key_name(key) for action, key in keys.items()}
        actions = [Action(row.action, row.help, hints.get(row.action, "")) for row in KEYS if row.action != "jump"]
        actions += [Action(name, title) for name, title in CHOICES.items()]
        dialog = JumpDialog(chat.around, actions, current=chat.room, search_hint=hints.get("search", ""))
        self._open(dialog, self._jumped)

    async def _jumped(self, target: Target | None) -> None:
        from sandpiper.faces.tui.dialogs.jump import ToAction, ToCommand, ToPeer, ToRoom, ToSearch

        chat = self._chat
        match target:
            case None:
                pass
            case ToRoom(room=room):
                chat.go(room)
            case ToPeer(key=key):
                peer = next((one for one in chat.around.peers if one.key == key), None) if chat.around else None
                self.go_to_peer(key, peer.room if peer is not None else None)
            case ToCommand(text=text):
                chat.composer.wipe()  # Ctrl+P brings back what stood there
                chat.composer.restore(Draft(text, (0, len(text))))
            case ToAction(name=name):
                await chat.run_action(f"app.{name}" if name in (*CHOICES, *APP_ACTIONS) else name)
            case ToSearch(words=words):
                self.search(words)
            case _:
                assert_never(target)

    def go_to_peer(self, key: PeerKey, room: RoomId | None) -> None:
        """Put the direct room with somebody on the screen, opening it if need be."""
        chat = self._chat
        if find_room(chat.around, room) is not None:
            chat.go(room)
        else:
            chat.backstage.open_direct(key)

    def search(self, words: str, messages: tuple[Message, ...] | None = None) -> None:
        """Ctrl+F, and what /search and /history have found."""
        from sandpiper.faces.tui.dialogs.search import SearchDialog

        chat = self._chat
        labels = {room.id: room.label for room in chat.around.rooms} if chat.around is not None else {}
        dialog = SearchDialog(
            chat.backstage.reader,
            chat.transcript.sheets.name,
            lambda room: labels.get(room, f"#{short(room)}"),
            words=words,
            current=chat.room,
            messages=messages,
        )
        self._open(dialog, self._found)

    def _found(self, hit: Hit | None) -> None:
        if hit is None:
            return
        chat = self._chat
        if find_room(chat.around, hit.room) is None:
            label = f"#{short(hit.room)}"
            chat.say(f"That message is in {label}, a room that you have left.", "To go back: /join and its name")
            return
        chat.go(hit.room)
        chat.transcript.go_to(hit.id, hit.place)

    def help(self, keys: Mapping[str, tuple[str, ...]], files: Mapping[str, str]) -> None:
        """F1. `files`: where the settings and the log are."""
        from sandpiper.faces.tui.dialogs.help import HelpDialog

        rows = [replace(row, keys=keys.get(row.action, ())) for row in KEYS]
        self._open(HelpDialog(rows, **files))

    # ------------------------------------------------------------ about people

    def verify(self, comparison: Comparison) -> None:
        """/verify."""
        from sandpiper.faces.tui.dialogs.verify import VerifyDialog

        def answered(same: bool | None) -> None:
            if same is None:
                return
            self._chat.backstage.verify(comparison.key, verified=same)

        self._open(VerifyDialog(comparison), answered)

    def other_key(self, told: OtherKey) -> None:
        """Somebody comes with a verified name under another key. One dialog at a time: all are in the transcript."""
        from sandpiper.faces.tui.dialogs.otherkey import OtherKeyDialog

        if any(isinstance(screen, OtherKeyDialog) for screen in self._chat.app.screen_stack):
            return

        def answered(answer: str | None) -> None:
            if answer is not None:  # by the key: the name may be another's by now
                self._chat.backstage.obey(self._chat.room, answer.format(told.key.hex()))

        self._open(OtherKeyDialog(told), answered)

    def invited(self, made: Invited, *, qr: bool) -> None:
        """A code was made: show it so that it can be read out, pasted or photographed, and copy the command."""
        from sandpiper.faces.invitation import command
        from sandpiper.faces.tui.dialogs.invitation import InvitationDialog

        self._chat.app.copy_to_clipboard(command(made.code, made.relay))
        self._open(InvitationDialog(made, qr=qr))

    def joining(self, step: str) -> None:
        """A step on the way into a private room, or (empty) its end."""
        from sandpiper.faces.tui.dialogs.joining import JoiningDialog

        if not step:
            if self._joining is not None:
                self._joining.end()
                self._joining = None
        elif self._joining is None:
            self._joining = JoiningDialog(step)
            self._open(self._joining)
        else:  # which may be hidden by now, and stays so
            self._joining.went_on(step)

    def password(self, wanted: PasswordWanted | CodePassword) -> None:
        """A hub, or a room, is locked."""
        from sandpiper.faces.tui.dialogs.ask import CODE_PASSWORD, HUB_PASSWORD, PasswordDialog
        from sandpiper.node.notices import CodePassword

        def answered(typed: str | None) -> None:
            self._chat.backstage.unlock(wanted, typed or None)

        about = CODE_PASSWORD if isinstance(wanted, CodePassword) else HUB_PASSWORD
        self._open(PasswordDialog(wanted.label, wanted.text, about=about), answered)

    # ------------------------------------------------------------ about messages

    def wanted(self, action: str, message: Message) -> None:
        """The person wants something done with a message."""
        chat = self._chat
        composer, mine = chat.composer, chat.around is not None and message.author == chat.around.us.key
        if action == "copy":
            chat.app.copy_to_clipboard(message.text)
            chat.app.notify("The message is in the clipboard.", timeout=2, markup=False)
            return
        if message.plain and action in ("reply", "react"):
            chat.say("A [plain] message is no record that others could look up.", "Answer it with a message.")
            return
        if message.retracted or (action in ("edit", "delete") and not mine):
            why = "That message was deleted." if message.retracted else "Only who wrote a message can change it."
            chat.say(why, "")
            return
        match action:
            case "reply":
                name = chat.transcript.sheets.name(message)
                composer.answer(message.id.hex(), name, excerpt(plain(message.text), EXCERPT_CELLS))
                self._back_to_composer()
            case "edit":
                composer.change(message.id.hex(), message.text)
                self._back_to_composer()
            case "react":
                self._react(message)
            case "delete":
                self._delete(message)
            case _:
                pass

    def _back_to_composer(self) -> None:
        self._chat.composer.elsewhere = False
        self._chat.transcript.action_leave()
        self._chat.composer.focus()

    def _react(self, message: Message) -> None:
        from sandpiper.faces.tui.dialogs.react import ReactDialog

        def answered(emoji: str | None) -> None:
            if emoji:
                self._chat.backstage.obey(message.room, f"/react {message.id.hex()} {emoji}")

        self._open(ReactDialog(), answered)

    def _delete(self, message: Message) -> None:
        from sandpiper.faces.tui.dialogs.confirm import ConfirmDialog

        def answered(sure: bool | None) -> None:
            if sure:
                self._chat.backstage.obey(message.room, f"/delete {message.id.hex()}")

        lines = (
            (Span(excerpt(plain(message.text), EXCERPT_CELLS), "quote"),),
            (Span("Others see that it was deleted; who has read it has read it.", "dim"),),
        )
        self._open(ConfirmDialog("Delete this message?", lines, "delete it", "keep it"), answered)

    def paste(self, text: str) -> None:
        """Many lines were pasted."""
        from sandpiper.faces.tui.dialogs.paste import PasteDialog

        def answered(choice: str | None) -> None:
            if choice == "paste":
                self._chat.composer.insert_paste(text)
            elif choice == "send":
                self._chat.composer.send_paste(text)

        self._open(PasteDialog(text), answered, after=True)
