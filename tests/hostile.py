"""Texts that a hostile peer might send, each with what it is after; the tests of several lanes share them."""

from __future__ import annotations

ESCAPES = {
    "CSI clears": "\x1b[2J\x1b[3J\x1b[H",
    "CSI colours": "\x1b[31;5mred\x1b[0m",
    "CSI hides the cursor": "\x1b[?25l",
    "CSI leaves the alternate screen": "\x1b[?1049l",
    "CSI asks where the cursor is": "\x1b[6n",
    "CSI asks what the terminal is": "\x1b[c\x1b[>c\x1b[=c",
    "CSI scroll region": "\x1b[5;10r\x1b[10S",
    "CSI inserts lines": "\x1b[99L\x1b[99M\x1b[99P\x1b[99@",
    "CSI repeats": "x\x1b[999999999b",
    "CSI resizes the window": "\x1b[8;1;1t\x1b[21t",
    "CSI keyboard": "\x1b[>31u\x1b[>4;2m",
    "CSI that does not end": "\x1b[1;2;3",
    "OSC 0 title": "\x1b]0;owned\x07",
    "OSC 2 title": "\x1b]2;owned\x1b\\",
    "OSC 4 palette": "\x1b]4;1;rgb:ff/00/00\x1b\\",
    "OSC 7 folder": "\x1b]7;file://evil/\x1b\\",
    "OSC 8 link": "\x1b]8;;http://evil.example\x1b\\good.example\x1b]8;;\x1b\\",
    "OSC 9 notification": "\x1b]9;owned\x07",
    "OSC 10 asks a colour": "\x1b]10;?\x07",
    "OSC 22 pointer": "\x1b]22;wait\x07",
    "OSC 52 clipboard": "\x1b]52;c;cm0gLXJmIC8=\x07",
    "OSC 52 reads": "\x1b]52;c;?\x1b\\",
    "OSC 777 notification": "\x1b]777;notify;a;b\x1b\\",
    "OSC 1337 file": "\x1b]1337;File=inline=1:AAAA\x07",
    "OSC that does not end": "\x1b]0;never",
    "DCS": "\x1bP+q544e\x1b\\",
    "DCS sixel": "\x1bPq#0;2;0;0;0~~\x1b\\",
    "APC": "\x1b_Gf=24,s=1,v=1;AAAA\x1b\\",
    "PM": "\x1b^private\x1b\\",
    "SOS": "\x1bXstring\x1b\\",
    "reset": "\x1bc",
    "charsets": "\x1b(0qqqq\x1b(B\x0e\x0f",
    "save and restore": "\x1b7\x1b8\x1bM\x1bD\x1bE",
    "C1 CSI": "\x9b2J\x9b31m",
    "C1 OSC": "\x9d52;c;cm0=\x9c",
    "C1 DCS, SOS, PM, APC": "\x90q\x9c\x98s\x9c\x9ep\x9c\x9fG\x9c",
    "C1 lines": "\x84\x85\x88\x8d\x8e\x8f",
}
"""What terminals obey."""

CONTROLS = {
    "NUL": "a\x00b",
    "BEL": "\x07\x07\x07",
    "backspaces": "good\x08\x08\x08\x08evil",
    "carriage return": "first\rsecond",
    "vertical": "a\x0bb\x0cc",
    "tabs": "a\t\t\tb",
    "shifts": "\x0e\x0f\x05\x11\x13",
    "DEL": "a\x7fb",
    "all C0": "".join(map(chr, range(32))),
    "all C1": "".join(map(chr, range(0x80, 0xA0))),
}
"""Characters that are no characters."""

DECEPTIONS = {
    "override": "\u202egnp.exe\u202c",
    "embeddings": "\u202aa\u202bb\u202cc\u202dd",
    "isolates": "\u2066a\u2067b\u2068c",
    "marks": "\u200ea\u200fb\u061cc",
    "right to left": "אבג 123 دهو",
    "zero width": "pass\u200bword\u2060\ufeff\u00ad",
    "tags": "hi\U000e0001\U000e0061\U000e0062\U000e007f",
    "variation selectors": "a\ufe0e\ufe0fb\U000e0100\U000e01efc",
    "annotation": "\ufff9a\ufffab\ufffb",
    "separators": "a\u2028b\u2029c\x85d",
    "non-characters": "\ufffe\uffff\U0010ffff\ufdd0",
    "private use": "\ue000\uf8ff\U000f0000",
    "fillers": "\u115f\u1160\u3164\uffa0\u2800",
    "deprecated": "\u206a\u206b\u206c\u206d\u206e\u206f",
    "pile of marks": "z\u0300\u0315\u0337" * 30,
    "one pile": "z" + "\u0301" * 100,
    "enclosing": "a\u20dd\u20e0\u0488",
    "marks with nothing below": "\u0301\u0301\u0301x",
    "joiners": "\u200d\u200d\u200ca\u200d\u200db",
    "a family": "👨‍👩‍👧‍👦👩🏽‍💻🏳️‍🌈",
    "a joined chain": "👨" + "\u200d👩" * 10,
    "flags": "🇩🇪🇫🇷🇩",
    "keycaps": "1\ufe0f\u20e3#\ufe0f\u20e3",
    "skin tones": "🏽👍🏿🏿",
    "wide": "漢字かな" * 10,
    "wide after narrow": "a" + "漢" * 30,
    "ambiguous width": "§±\u00d7÷αβ①■□◆" * 3,
    "half width": "ｶﾞｷﾞ" * 5,
    "conjoining": "\u1100\u1161\u11a8\u1100\u1100\u1161",
    "indic": "क्षि" * 8,
    "widest": "﷽꧅𒐫⸻",
}
"""What makes text look like what it is not, or takes another width than thought."""

FORMATS = {
    "markup": "[bold]x[/bold][red on blue]",
    "closing markup": "[/b][/][/]",
    "markup with an action": "[@click=app.quit]x[/]",
    "markup with a link": "[link=http://evil.example]x[/link]",
    "markup that does not end": "[bold [[ [$primary",
    "escaped markup": "\\[bold] \\\\[b]",
    "percent": "%n%s%d%(x)s%%",
    "braces": "{} {0} {x!r} {{",
    "shell": "$(reboot) `reboot` ; rm",
    "sql": "' OR 1=1; --\"*",
    "html": "<script>&amp;<b>",
    "emoji names": ":bomb::no_such_thing:",
    "fts": 'NEAR(a b) "x* AND NOT (',
    "box": "│ ╭─╮ ▌ ───── new ───",
    "another's line": "ok\n12:00  alice │ I owe you",
    "many lines": "line\n" * 30,
    "nothing but space": " \n \t \n ",
    "long word": "w" * 3000,
    "mention": "@alice alice ALICE",
    "code": "```\n\x1b[31mx\n``` `\x1b[0m`",
    "link": "http://evil.example/\x1b]8;;x\x07 https://a.example/[/b]%00",
}
"""What means something to a program, or looks like a part of its screen."""

HOSTILE: dict[str, str] = {**ESCAPES, **CONTROLS, **DECEPTIONS, **FORMATS}

RAW_BYTES = {
    "C1 as bytes": b"\x9b2J\x9d0;x\x9cabcd",
    "a lone surrogate": b"a\xed\xa0\x80bc\xed\xb0\x80def",
    "overlong": b"\xc0\x9b\xc1\x9b[2Jabcde",
    "past Unicode": b"\xf4\x90\x80\x80\xf8\x88\x80\x80abcd",
    "cut short": b"abcdefghij\xf0\x9f",
}
"""Twelve bytes each that are no UTF-8."""
