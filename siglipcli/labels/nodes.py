"""Text → a tree of nodes whose scalars are the text as written, within limits: YAML, JSON or lines.

Nothing is resolved or constructed: `no`, `1.0` and `~` stay text, a tag is refused, and the limits
are checked while the parser's events arrive, so that an alias bomb, a recursion or deep nesting costs
no more than the events up to the refusal. This module knows the syntax alone; `schema` reads the
meaning.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import yaml

from siglipcli.errors import LabelError
from siglipcli.labels.tree import MAX_DEPTH, Kind, Node, quoted

__all__ = [
    "LOADER",
    "MAX_BYTES",
    "compose",
    "decode",
    "is_lines",
    "joined_surrogates",
]

MAX_BYTES = 16 * 2**20
MAX_NODES = 1_000_000  # aliases expanded
MAX_KEYS = 10_000
MAX_ALIASES = 1_000

# libyaml's parser where PyYAML was built with it: about fifteen times faster, same events.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# UTF-32 first: its little-endian mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)

# YAML 1.1, section 4.1: what may not appear in a stream.
_NOT_TEXT = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# The first line of YAML or JSON: a list's entry, an opening bracket, a document's start, a key.
_YAML_START = re.compile(r"""-(\s|$)|[\[{%]|---|["']?\w+["']?[ \t]*:(\s|$)""")
_SURROGATES = re.compile(
    r"(?<!\\)((?:\\\\)*)\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})", re.IGNORECASE
)


def decode(raw: bytes, file: str) -> str:
    """Return a file's text: UTF-8, or UTF-16 or UTF-32 by their byte order mark.

    `LabelError` where it is too large or the bytes are not that encoding; `file` names it there.
    """
    if len(raw) > MAX_BYTES:
        raise LabelError(_too_large(file))
    codec = next((name for mark, name in _MARKS if raw.startswith(mark)), "utf-8")
    try:
        return raw.decode(codec)
    except UnicodeDecodeError as error:
        line = raw[: error.start].decode(codec, "replace").count("\n") + 1
        name = codec.removesuffix("-sig").upper()
        raise LabelError(f"{file}:{line}: the bytes are not {name}; save it as UTF-8.") from None


def compose(text: str, file: str) -> Node | None:
    """Return the root node of the one document in `text`; None where there is nothing in it.

    The lines of a list are a list of texts. `LabelError` (`file:line: what is wrong`) for everything else
    that is not plain, bounded YAML.
    """
    text = text.removeprefix("\ufeff")
    _refuse_control_characters(text, file)
    if is_lines(text, file):
        return _lines(text)
    text = joined_surrogates(text)
    builder = _Builder(file)
    try:
        for event in yaml.parse(text, Loader=LOADER):
            builder.feed(event)
    except yaml.MarkedYAMLError as error:
        raise LabelError(_syntax_message(error, text, file)) from None
    except LabelError:  # a ValueError too
        raise
    except (yaml.YAMLError, ValueError, OverflowError):
        # Escapes beyond Unicode, and directives with absurd numbers, leave PyYAML as ValueError.
        raise LabelError(f"{file}:{builder.line}: not valid YAML after this line.") from None
    return builder.root


def is_lines(text: str, file: str) -> bool:
    """Tell whether `text` is a list of names, one per line, by the ending of `file`, else by its first line.

    `.txt` is; `.yaml`, `.yml` and `.json` are not.
    """
    ending = Path(file).suffix.lower()
    if ending in {".yaml", ".yml", ".json", ".txt"}:
        return ending == ".txt"
    lines = (line.strip() for line in text.removeprefix("\ufeff").splitlines())
    first = next((line for line in lines if line and not line.startswith("#")), "")
    return bool(first) and not _YAML_START.match(first)


def joined_surrogates(text: str) -> str:
    """Return `text` with the escapes of characters that JSON writes as a pair as these characters.

    YAML has no such pairs; Python's own JSON writes every character beyond U+FFFF so.
    """
    if "\\u" not in text:
        return text

    def joined(match: re.Match[str]) -> str:
        high, low = int(match[2], 16), int(match[3], 16)
        return match[1] + chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))

    return _SURROGATES.sub(joined, text)


def _lines(text: str) -> Node | None:
    """Return the lines as a list; blank ones, and those that begin with `# `, are passed over."""
    numbered = enumerate(re.split("\r\n|\r|\n", text), start=1)
    kept = [(number, line) for number, line in numbered if line.strip()]
    items = [
        Node(Kind.TEXT, number, line) for number, line in kept if not re.match(r"\s*#(\s|$)", line)
    ]
    return Node(Kind.LIST, 1, items=items) if items else None


def _too_large(file: str) -> str:
    return f"{file}: larger than {MAX_BYTES >> 20} MiB; split the label set."


def _refuse_control_characters(text: str, file: str) -> None:
    if len(text) > MAX_BYTES:
        raise LabelError(_too_large(file))
    if odd := _NOT_TEXT.search(text):
        line = text.count("\n", 0, odd.start()) + 1
        code = f"U+{ord(odd.group()):04X}"
        raise LabelError(f"{file}:{line}: character {code} is not text; save the file as UTF-8.")


def _syntax_message(error: yaml.MarkedYAMLError, text: str, file: str) -> str:
    mark = error.problem_mark or error.context_mark
    index = mark.line if mark else 0
    lines = text.split("\n")
    line = lines[index] if index < len(lines) else ""
    if "\t" in line[: len(line) - len(line.lstrip())]:
        return f"{file}:{index + 1}: indented with a tab; YAML wants spaces."
    problem = error.problem or "the text ends too early"
    return f"{file}:{index + 1}: not valid YAML: {problem}; quote a text that holds any of :#{{}}[],&*!@%"


class _Builder:
    """Puts the events together, and refuses the one that passes a limit."""

    def __init__(self, file: str) -> None:
        self.root: Node | None = None
        self.line = 1
        self._file = file
        self._open: list[Node] = []
        self._anchors: dict[str, Node] = {}
        self._documents = self._nodes = self._aliases = 0

    def feed(self, event: yaml.Event) -> None:
        """Take the next event of the stream."""
        self.line = event.start_mark.line + 1 if event.start_mark else self.line
        if isinstance(event, yaml.ScalarEvent):
            self._add(Node(Kind.TEXT, self.line, event.value), event)
        elif isinstance(event, yaml.CollectionStartEvent):
            sequence = isinstance(event, yaml.SequenceStartEvent)
            node = Node(Kind.LIST if sequence else Kind.MAPPING, self.line)
            self._add(node, event)
            self._open.append(node)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close()
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._refuse("a second document begins; keep one label set per file.")

    def _add(self, node: Node, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._refuse(f"the tag {quoted(tag)} is refused; write plain text, lists and mappings.")
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        self._attach(node)

    def _alias(self, event: yaml.AliasEvent) -> None:
        self._aliases += 1
        anchor = event.anchor or ""
        name = quoted(f"*{anchor}")
        node = self._anchors.get(anchor)
        if node is None:
            self._refuse(f"the alias {name} has no anchor before it; write the value itself.")
        elif any(node is one for one in self._open):
            self._refuse(f"the alias {name} holds itself; write the value itself.")
        elif self._aliases > MAX_ALIASES:
            self._refuse(f"more than {MAX_ALIASES:,} aliases; write the values themselves.")
        self._attach(replace(node, line=self.line))

    def _attach(self, node: Node) -> None:
        self._nodes += node.size
        if self._nodes > MAX_NODES:
            self._refuse(f"more than {MAX_NODES:,} values, aliases expanded; split the label set.")
        if len(self._open) + node.height > MAX_DEPTH:
            self._refuse(f"nested more than {MAX_DEPTH} levels deep; make it flatter.")
        if self._open:
            parent = self._open[-1]
            if parent.kind is Kind.MAPPING and len(parent.items) >= 2 * MAX_KEYS:
                self._refuse(f"more than {MAX_KEYS:,} keys in one mapping; is this a label set?")
            parent.items.append(node)
        else:
            self.root = node

    def _close(self) -> None:
        node = self._open.pop()
        node.size += sum(item.size for item in node.items)
        node.height += max((item.height for item in node.items), default=0)

    def _refuse(self, reason: str) -> NoReturn:
        raise LabelError(f"{self._file}:{self.line}: {reason}")
