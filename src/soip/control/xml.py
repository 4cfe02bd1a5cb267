"""A small, closed subset of XML: elements with attributes, text or children. No DTD, so no entities but the five.

Devices write GB2312, GBK or GB18030 (each a part of the next), or UTF-8, and not always what they declare. Text is
decoded here, by what the bytes can be, and expat reads it as UTF-8: nothing a document says chooses a decoder.

Mixed content is not kept: an element has either children or text, and blanks around text are not part of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.parsers import expat  # expat itself refuses what amplifies, and here there is no DTD to do it with

from soip.control.errors import ControlBuildError, NotXmlError

MAX_BYTES = 65536
MAX_DEPTH = 16
MAX_ELEMENTS = 1024

BLANK = " \t\r\n"
_BOM = b"\xef\xbb\xbf"
_DECLARED = re.compile(rb"\s*<\?xml\s[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"']", re.IGNORECASE)
_DECLARATION = re.compile(r"[ \t\r\n]*<\?xml\s[^>]{0,200}\?>")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9._-]*(?::[A-Za-z_][A-Za-z0-9._-]*)?")
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 §2.2

# How a text is written when an encoding is asked for; what the codec lacks becomes a character reference. GB2312 is
# written as GBK: the codec of that name puts two punctuation marks elsewhere than all its successors.
_CODECS = {"UTF-8": "utf-8", "GB2312": "gbk", "GBK": "gbk", "GB18030": "gb18030"}
ENCODINGS = tuple(_CODECS)


@dataclass(frozen=True, slots=True)
class Element:
    """One element. Names are as written, with their prefix; namespaces are not resolved."""

    name: str
    text: str = ""
    children: tuple[Element, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()

    def find(self, name: str) -> Element | None:
        """The first child of that name in any case: the standards' own texts do not agree on it."""
        wanted = name.lower()
        return next((child for child in self.children if child.name.lower() == wanted), None)

    def get(self, *path: str) -> str:
        """The text of the element at the end of a path of names, "" when it is not there."""
        found: Element | None = self
        for name in path:
            found = found.find(name) if found else None
        return found.text if found else ""

    def attribute(self, name: str) -> str | None:
        """The value of an attribute, None when it is not there."""
        return dict(self.attributes).get(name)


def parse(body: bytes) -> Element:
    """The root element of a document. Raises NotXmlError."""
    if len(body) > MAX_BYTES:
        raise NotXmlError(f"a body of more than {MAX_BYTES} bytes")
    text = _decode(body)
    declaration = _DECLARATION.match(text)
    return _Reader().read(text[declaration.end() :] if declaration else text.lstrip(BLANK))


def build(root: Element, encoding: str = "UTF-8") -> bytes:
    """The document. Raises ControlBuildError for what XML cannot carry, and for an encoding not in `ENCODINGS`."""
    if encoding not in _CODECS:
        raise ControlBuildError(f"{encoding!r} is none of {', '.join(ENCODINGS)}")
    parts = [f'<?xml version="1.0" encoding="{encoding}"?>\r\n']
    _write(root, parts)
    parts.append("\r\n")
    return "".join(parts).encode(_CODECS[encoding], "xmlcharrefreplace")


def _decode(body: bytes) -> str:
    """The text of a document, by what it says and what it can be. What fits nothing is read with marks for the rest:
    an alarm with a spoilt word is better than none.
    """
    if body.startswith(_BOM):
        return body[len(_BOM) :].decode("utf-8", "replace")
    declared = _DECLARED.match(body)
    chinese = declared is not None and declared[1].lower().startswith((b"gb", b"cp936", b"x-gb"))
    for codec in ("gb18030", "utf-8") if chinese else ("utf-8", "gb18030"):
        try:
            return body.decode(codec)
        except UnicodeDecodeError:
            continue
    return body.decode("gb18030", "replace")


class _Draft:
    """An element whose end has not come."""

    __slots__ = ("attributes", "children", "name", "text")

    def __init__(self, name: str, attributes: tuple[tuple[str, str], ...]) -> None:
        self.name = name
        self.attributes = attributes
        self.children: list[Element] = []
        self.text: list[str] = []

    def done(self) -> Element:
        text = "" if self.children else "".join(self.text).strip(BLANK)
        return Element(self.name, text, tuple(self.children), self.attributes)


class _Reader:
    """One reading of one document, bounded in depth and count while it goes."""

    def __init__(self) -> None:
        self._open = [_Draft("", ())]
        self._count = 0

    def read(self, text: str) -> Element:
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        try:
            parser.Parse(text, True)
        except expat.ExpatError as error:
            raise NotXmlError(f"no XML: {expat.ErrorString(error.code)} in line {error.lineno}") from None
        return self._open[0].children[0]

    def _doctype(self, *_: object) -> None:
        raise NotXmlError("a document type is not taken")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._count += 1
        if self._count > MAX_ELEMENTS or len(self._open) > MAX_DEPTH:
            raise NotXmlError(f"more than {MAX_ELEMENTS} elements, or nested more than {MAX_DEPTH} deep")
        self._open.append(_Draft(name, tuple(attributes.items())))

    def _end(self, _name: str) -> None:
        done = self._open.pop().done()
        self._open[-1].children.append(done)

    def _characters(self, text: str) -> None:
        self._open[-1].text.append(text)


def _write(element: Element, parts: list[str]) -> None:
    parts.append(f"<{_name(element.name)}")
    parts += [f' {_name(name)}="{_escape(value, quoted=True)}"' for name, value in element.attributes]
    if element.children:
        parts.append(">\r\n")
        for child in element.children:
            _write(child, parts)
        parts.append(f"</{element.name}>\r\n")
    elif element.text:
        parts.append(f">{_escape(element.text)}</{element.name}>\r\n")
    else:
        parts.append("/>\r\n")


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ControlBuildError(f"not a name: {name!r}")
    return name


def _escape(text: str, *, quoted: bool = False) -> str:
    if _UNWRITABLE.search(text):
        raise ControlBuildError("a character that XML cannot carry")
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")
    if quoted:  # a reader turns these into blanks otherwise (XML 1.0 §3.3.3)
        text = text.replace('"', "&quot;").replace("\n", "&#10;").replace("\t", "&#9;")
    return text
