"""Settings and directories: flag > `SANDPIPER_*` environment > `config.toml` > default.

`settings` is the table of them, `rules` says what each may be, `sources` settles and writes them, `document` edits
config.toml, `paths` says where it all lies. Nothing is created at import, and what only some starts need (tomllib,
pathlib, platformdirs) is imported where it is used.
"""

from sandpiper.config.addresses import Address, parse_address
from sandpiper.config.document import as_toml
from sandpiper.config.paths import Paths, write_whole
from sandpiper.config.settings import Setting, Settings, settings_markdown, table
from sandpiper.config.sources import Loaded, load, set_value

__all__ = [
    "Address",
    "Loaded",
    "Paths",
    "Setting",
    "Settings",
    "as_toml",
    "load",
    "parse_address",
    "set_value",
    "settings_markdown",
    "table",
    "write_whole",
]
