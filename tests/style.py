#!/usr/bin/env python3
"""Finds patterns that CONTRIBUTING.md ("Style") forbids in Markdown, in comments of Rust, YAML and Dockerfiles, and in
messages and test names of Rust."""

import pathlib
import re
import sys

START = r"(?:\A|\n\n|[.!?] |\n *(?:[-*]|\d+\.) (?:\*\*.*?\*\* )?)"
PATTERNS = {
    "begins a sentence": START + r"(Of|Nor|So|None|The same|What)\b(?! happens| counts)",
    "is not plain": r"\b(told|goes on|go on|what is left over)\b",
    "negates a noun": r"(?<!here )(?<!here\n  )\b((?:is|are|was|were|be) no (?!longer\b|more\b)\w+)",
    "is the short form": r"(?<![\w.`/={\[-])(TERM|KILL|HUP|USR[12])\b(?!`)",
}
PRONOUN = re.compile(r"^(it|one|that|they)_|_(it|one|ones|them|they|its)(_|$)")


def prose(path, text):
    """The text without code, comments and generated tables. Its lines keep their numbers."""
    if path.suffix != ".md":
        sign = r"\s*//[/!]? ?(.*)" if path.suffix == ".rs" else r".*?(?:^|\s)# (.*)"
        lines = (re.match(sign, line) for line in text.splitlines())
        return "\n".join(re.sub("`[^`]+`", "``", line[1]) if line else "" for line in lines)
    blank = lambda match: re.sub(r"[^\n]", "", match[0])
    text = re.sub(r"(?ms)^ *```.*?^ *```$|<!-- make .*?<!-- end -->|<!--.*?-->", blank, text)
    return re.sub(r"\]\([^)]*\)|`+[^`]+`+", lambda match: "`" + blank(match) + "`", text)


def hits(path):
    text, tests = path.read_text(), re.compile(r"test\]\s*(?:async )?fn (\w+)")
    sentences = prose(path, text)
    for why, pattern in PATTERNS.items():
        yield from ((sentences[: hit.start(1)], f'"{hit[1]}" {why}') for hit in re.finditer(pattern, sentences))
    if path.suffix == ".md":
        anchors = re.finditer(r"(?m)^ *<!-- [CS]\d", text)
        yield from ((text[: it.start()], "an anchor begins a line, so Markdown shows the line as HTML") for it in anchors)
    if path.suffix == ".rs":
        yield from ((text[: it.start(1)], f"{it[1]} has a pronoun") for it in tests.finditer(text) if PRONOUN.search(it[1]))


if len(sys.argv) == 1:
    sys.exit("name the files and directories to look at, as `make lint` does")
places = [path for place in map(pathlib.Path, sys.argv[1:]) for path in (sorted(place.rglob("*.*")) if place.is_dir() else [place])]
found = [f"{path}:{before.count(chr(10)) + 1}: {what}" for path in places if path.suffix in (".md", ".rs", ".yaml") or path.name.startswith("Dockerfile") for before, what in hits(path)]
sys.exit("\n".join(found) or 0)
