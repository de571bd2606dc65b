"""The table of commands, and how a typed line becomes one of them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandpiper.errors import UsageError
from sandpiper.faces.commands import COMMANDS, Call, Command, Say, commands_markdown, find, parse
from sandpiper.faces.context import Arguments

NAMES = [name for command in COMMANDS for name in (command.name, *command.aliases)]


def call(text: str) -> tuple[str, Arguments]:
    parsed = parse(text)
    assert isinstance(parsed, Call)
    return parsed.command.name, parsed.arguments


def refusal(text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        parse(text)
    return caught.value


def test_no_name_or_alias_means_two_commands():
    assert len(NAMES) == len(set(NAMES))


def test_every_command_that_the_founding_programs_had_is_there():
    for name in ("help", "users", "nick", "clear", "quit", "who"):
        assert find(name).help


def test_commands_of_later_issues_do_not_exist():
    for name in ("send", "accept", "files"):
        assert "There is no command" in str(refusal(f"/{name} x"))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_says_what_it_is_for(command: Command):
    assert command.help
    assert command.help[-1] != "."
    assert command.usage.startswith(f"/{command.name}")
    kinds = [parameter.kind for parameter in command.parameters]
    assert "text" not in kinds[:-1], "text takes the rest of the line"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hello", "hello"),
        ("//etc/hosts", "/etc/hosts"),
        ("///", "//"),
        (" /join x", " /join x"),
        ("a /join b", "a /join b"),
        ("//", "/"),
    ],
)
def test_what_is_no_command_is_a_message(text: str, said: str):
    assert parse(text) == Say(said)


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("/join #dev", "join", {"room": "#dev"}),
        ("/J #dev", "join", {"room": "#dev"}),
        ("/join   #dev  ", "join", {"room": "#dev"}),
        ("/leave", "leave", {}),
        ("/msg bob  hi  there ", "msg", {"nick": "bob", "text": "hi  there"}),
        ("/msg bob", "msg", {"nick": "bob"}),
        ("/msg bob hi\nthere", "msg", {"nick": "bob", "text": "hi\nthere"}),
        ("/me\nwaves", "me", {"action": "waves"}),
        ("/edit ^ new text", "edit", {"message": "^", "text": "new text"}),
        ("/edit new text", "edit", {"text": "new text"}),
        ("/edit ^2 new", "edit", {"message": "^2", "text": "new"}),
        ("/edit 3fa2 new", "edit", {"message": "3fa2", "text": "new"}),
        ("/reply @bob yes", "reply", {"message": "@bob", "text": "yes"}),
        ("/reply yes @bob", "reply", {"text": "yes @bob"}),
        ("/react 👍", "react", {"emoji": "👍"}),
        ("/react ^3 👍", "react", {"message": "^3", "emoji": "👍"}),
        ("/delete", "delete", {}),
        ("/delete ^2", "delete", {"message": "^2"}),
        ("/history", "history", {}),
        ("/history 50", "history", {"count": "50"}),
        ("/last 50 3fa29c", "history", {"count": "50", "before": "3fa29c"}),
        ("/history ^20", "history", {"before": "^20"}),
        ("/topic", "topic", {}),
        ("/topic tides and crew", "topic", {"topic": "tides and crew"}),
        ("/away", "away", {}),
        ("/users", "who", {}),
        ("/? join", "help", {"command": "join"}),
        ("/verify bob", "verify", {"nick": "bob"}),
        ("/verify bob yes", "verify", {"nick": "bob", "answer": "yes"}),
    ],
)
def test_commands_and_their_arguments(text: str, name: str, arguments: dict[str, str]):
    assert call(text) == (name, Arguments(arguments))


@pytest.mark.parametrize(
    ("text", "nearest"),
    [("/jion #dev", "/join"), ("/hlep", "/help"), ("/quti", "/quit"), ("/woh", "/who"), ("/histroy 5", "/history")],
)
def test_an_unknown_command_names_the_nearest_and_says_that_nothing_was_sent(text: str, nearest: str):
    error = refusal(text)
    assert error.code == "no_command"
    assert "nothing was sent" in str(error)
    assert f"Did you mean {nearest}?" in error.hint
    assert "//" in error.hint


@pytest.mark.parametrize("text", ["/", "/ ", "/ join", "/xyzzyplugh", "/usr/bin/env is missing", "/\n"])
def test_a_slash_alone_or_a_path_is_never_sent_as_text(text: str):
    assert refusal(text).code == "no_command"


@pytest.mark.parametrize(
    "text",
    [
        "/msg",
        "/nick",
        "/me",
        "/me  ",
        "/reply",
        "/reply ^",
        "/react",
        "/react ^",
        "/edit ^",
        "/whois",
        "/verify",
        "/connect",
    ],
)
def test_what_is_missing_is_named_with_the_usage(text: str):
    error = refusal(text)
    assert error.code == "usage"
    assert "needs" in str(error)
    assert error.hint == f"Usage: {find(text.split()[0][1:]).usage}"


@pytest.mark.parametrize(
    "text",
    ["/nick two words", "/quit now", "/join #a password b", "/history 5 ^ more", "/delete ^ ^2", "/verify bob yes no"],
)
def test_what_is_too_much_is_refused(text: str):
    error = refusal(text)
    assert error.code == "usage"
    assert "too much" in str(error)


def outcome(text: str) -> Say | Call | UsageError:
    try:
        return parse(text)
    except UsageError as error:
        return error


@given(st.text())
def test_any_line_is_a_message_or_a_command_or_a_clear_error(text: str):
    match outcome(text):
        case Say(text=said):
            assert said == (text[1:] if text.startswith("//") else text)
        case Call():
            assert text.startswith("/")
        case error:
            assert text.startswith("/")
            assert str(error)
            assert error.hint


@given(st.sampled_from(COMMANDS), st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4))
def test_a_command_with_any_arguments_is_that_command_or_a_usage_error(command: Command, words: list[str]):
    match outcome(f"/{command.name} {' '.join(words)}"):
        case Call(command=called, arguments=arguments):
            assert called is command
            for parameter in command.parameters:
                value = arguments.get(parameter.name)
                assert value == value.strip()
                assert parameter.optional or value
        case UsageError(code=code):
            assert code == "usage"
        case Say():
            pytest.fail("a command was taken for a message")


@given(st.text(min_size=1))
def test_text_of_a_command_is_passed_on_as_it_was_typed(text: str):
    wanted = text.strip()
    if wanted:
        assert call(f"/me {text}") == ("me", Arguments({"action": wanted}))


def test_the_page_has_the_table_as_it_is():
    page = Path(__file__).parents[2] / "docs" / "line-mode.md"
    assert commands_markdown() in page.read_text("utf-8")
