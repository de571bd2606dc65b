"""Commands that say something: /me /msg /reply /react /edit /delete /topic, and a plain line of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandpiper.errors import UsageError
from sandpiper.faces.people import PLAIN_ROOM
from sandpiper.faces.targets import find_message, is_whole_id
from sandpiper.wire.limits import MAX_EMOJI_CHARS, MAX_TEXT_CHARS, MAX_TOPIC_CHARS
from sandpiper.wire.records import Edit, React, Retract, Text, Topic
from sandpiper.wire.text import clean_emoji, clean_text, clean_topic

if TYPE_CHECKING:
    from sandpiper.faces.context import Arguments, Context
    from sandpiper.store.reader import Message
    from sandpiper.wire.ids import RoomId


def checked(text: str) -> str:
    """A text of ours as it is sent.

    Raises:
        UsageError: it is too long, or there is nothing in it.
    """
    if len(text) > MAX_TEXT_CHARS:
        raise UsageError(
            f"That message has {len(text):,} characters; {MAX_TEXT_CHARS:,} is the most. It was not sent.",
            hint="Send it in parts.",
            code="too_long",
        )
    text = clean_text(text)
    if not text.strip():
        raise UsageError("There is nothing to send.", code="empty")
    return text


def say(context: Context, text: str) -> None:
    """Send text to the current room."""
    context.node.post(context.room, Text(checked(text)))


async def me(context: Context, arguments: Arguments) -> None:
    """/me: say what we are doing."""
    context.node.post(context.room, Text(checked(arguments["action"]), action=True))


async def msg(context: Context, arguments: Arguments) -> None:
    """/msg: open the direct room with somebody, and say something there if there is something to say."""
    peer = context.people.find(arguments["nick"])
    if peer in context.people.plain:
        raise UsageError(
            f"{context.people.name(peer)} speaks the old p2pchat dialect, which has no direct messages.",
            hint="What you write in #general reaches them.",
            code="plain_peer",
        )
    if any(room.kind == "hub" and peer in room.nicks for room in context.node.rooms()):
        raise UsageError("A hub has no direct messages.", hint="What you write in its room reaches them.")
    text = arguments.get("text")
    ready = checked(text) if text else ""
    room = context.node.open_direct(peer)
    if ready:
        context.node.post(room, Text(ready))
    else:
        context.face.switch(room)


async def reply(context: Context, arguments: Arguments) -> None:
    """/reply: answer a message."""
    word, text = arguments.get("message"), arguments["text"]
    try:
        target = await find_message(context, word or "^")
    except UsageError as exc:
        if word is None or exc.code != "no_message" or not word.isalnum() or is_whole_id(word):
            raise
        # No message has such an id: "added", "face" and "2024" are words, too.
        target, text = await find_message(context, "^"), f"{word} {text}"
    context.node.post(context.room, Text(checked(text), reply_to=target.id))


async def react(context: Context, arguments: Arguments) -> None:
    """/react: put an emoji on a message, or take the same one away again."""
    typed = arguments["emoji"]
    emoji = clean_emoji(typed)
    if len(typed) > MAX_EMOJI_CHARS or emoji != typed:
        raise UsageError(
            f"{emoji!r} is no reaction.", hint="Give one emoji or short word: /react ^ 👍", code="bad_emoji"
        )
    target = await find_message(context, arguments.get("message") or "^")
    _signed(target, "react to")
    there = any(one.author == context.node.key and one.emoji == emoji for one in target.reactions)
    context.node.post(context.room, React(target.id, emoji, add=not there))


async def edit(context: Context, arguments: Arguments) -> None:
    """/edit: give a message of ours another text."""
    text = checked(arguments["text"])
    target = await find_message(context, arguments.get("message") or "^", own=True)
    context.node.post(context.room, Edit(target.id, text))
    _old_dialect_keeps(context, context.room)


async def delete(context: Context, arguments: Arguments) -> None:
    """/delete: take a message of ours back."""
    target = await find_message(context, arguments.get("message") or "^", own=True)
    context.node.post(context.room, Retract(target.id))
    _old_dialect_keeps(context, context.room)


async def topic(context: Context, arguments: Arguments) -> None:
    """/topic: show it, or set it; `-` takes it away."""
    room, text = context.room, arguments.get("topic")
    if not text:
        found = context.node.room(room)
        now = found.topic if found is not None else ""
        context.say("topic", f"The topic of {context.people.room(room)}: {now}" if now else "There is no topic yet.")
        return
    if len(text) > MAX_TOPIC_CHARS:
        raise UsageError(f"That topic has {len(text)} characters; {MAX_TOPIC_CHARS} is the most.", code="too_long")
    context.node.post(room, Topic("" if text == "-" else clean_topic(text)))


def _signed(target: Message, what: str) -> None:
    if target.plain:
        raise UsageError(
            f"You cannot {what} a [plain] message: it is no record that others could look up.",
            hint="Answer it with a message.",
            code="plain_message",
        )


def _old_dialect_keeps(context: Context, room: RoomId) -> None:
    """The old dialect cannot take anything back, and that is said."""
    if room == PLAIN_ROOM and context.people.plain:
        context.say("plain", "Peers marked [plain] still see it as it was: their program cannot change messages.")
