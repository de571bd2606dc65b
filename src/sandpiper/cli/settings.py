"""`sandpiper config`: show and change settings."""

from __future__ import annotations

import click

from sandpiper.cli.options import EXIT_OK, Options, everywhere, pass_options, put


def _offer_settings(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Names of settings, for the shell's completion."""
    from sandpiper.config import table

    return [name for name in table() if name.startswith(begun)]


@click.group(invoke_without_command=True)
@everywhere
@click.pass_context
def config(context: click.Context) -> int:
    """Show or change settings."""
    return EXIT_OK if context.invoked_subcommand is not None else _settings(context.ensure_object(Options), None)


@config.command("list")
@everywhere
@pass_options
def config_list(options: Options) -> int:
    """List all settings, their values, and where those come from."""
    return _settings(options, None)


@config.command("get")
@click.argument("name", shell_complete=_offer_settings)
@everywhere
@pass_options
def config_get(options: Options, name: str) -> int:
    """Print the value of one setting."""
    return _settings(options, name)


@config.command("set")
@click.argument("name", shell_complete=_offer_settings)
@click.argument("value")
@everywhere
@pass_options
def config_set(options: Options, name: str, value: str) -> int:
    """Write a setting into config.toml."""
    from sandpiper.config import Paths, set_value

    paths = Paths.find()
    set_value(paths, name, value)
    options.narrate(f"Written to {paths.config_file}")
    return EXIT_OK


@config.command("path")
@everywhere
@pass_options
def config_path(options: Options) -> int:
    """Print where config.toml is, or would be."""
    from sandpiper.config import Paths

    where = str(Paths.find().config_file)
    if options.json:
        from sandpiper.faces.events import Notice, encode

        where = encode(Notice(code="path", text=where))
    put(where.rstrip("\n") + "\n")
    return EXIT_OK


@config.command("passphrase")
@click.option("--remove", is_flag=True, help="Take the passphrase away.")
@everywhere
@pass_options
def config_passphrase(options: Options, remove: bool) -> int:
    """Put the profile's key under a passphrase, or change or remove it. Asked for, never an argument."""
    from sandpiper.cli.start import ask_nick, ask_passphrase, can_ask, open_chosen
    from sandpiper.errors import ConfigError, UsageError
    from sandpiper.store.profile import set_passphrase

    if not can_ask(options):
        raise UsageError("A passphrase is typed by a person.", hint="Run this on a terminal, without --no-input.")
    paths, loaded = options.load()
    with open_chosen(paths, loaded, nick=ask_nick, passphrase=ask_passphrase) as profile:
        if profile.temporary:
            raise ConfigError("The profile is in use by another process.", hint="Close that one first.")
        new = None
        if not remove:
            new = click.prompt("New passphrase", hide_input=True, confirmation_prompt=True, err=True)
        for note in set_passphrase(profile, new):
            options.narrate(note)
        options.narrate(f"The key of {profile.name} is {'under the new passphrase' if new else 'under none'} now.")
    return EXIT_OK


def _settings(options: Options, name: str | None) -> int:
    from sandpiper.faces import archive

    _, loaded = options.load()
    for text in archive.setting_lines(loaded, name, as_json=options.json):
        put(text)
    return EXIT_OK
