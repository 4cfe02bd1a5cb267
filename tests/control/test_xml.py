"""The subset of XML: what is read whatever it says of itself, what is refused, and that what is built reads back."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.control.errors import ControlBuildError, ControlError, NotXmlError
from soip.control.xml import BLANK, ENCODINGS, MAX_BYTES, MAX_DEPTH, MAX_ELEMENTS, Element, build, parse

_LETTERS = st.characters(
    exclude_categories=["Cs"], exclude_characters=[*map(chr, range(32)), "\ufffe", "\uffff"]
) | st.sampled_from("\t\n\r<>&\"'中文ü€𠀀\u00b7\u2014\u1e3f")
_TEXTS = st.text(_LETTERS, max_size=30)
_NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9._-]{0,8}(:[A-Za-z_][A-Za-z0-9]{0,4})?", fullmatch=True)
_ATTRIBUTES = st.dictionaries(_NAMES, _TEXTS, max_size=3).map(lambda values: tuple(values.items()))
_LEAVES = st.builds(Element, _NAMES, _TEXTS.map(lambda text: text.strip(BLANK)), st.just(()), _ATTRIBUTES)
ELEMENTS = st.recursive(
    _LEAVES,
    lambda inner: st.builds(
        Element, _NAMES, st.just(""), st.lists(inner, min_size=1, max_size=4).map(tuple), _ATTRIBUTES
    ),
    max_leaves=12,
)


@given(ELEMENTS, st.sampled_from(ENCODINGS))
def test_what_is_built_reads_back(element: Element, encoding: str) -> None:
    assert parse(build(element, encoding)) == element


@pytest.mark.parametrize(
    ("declared", "codec"),
    [
        ("UTF-8", "utf-8"),
        ("GB2312", "gb2312"),
        ("gbk", "gbk"),
        ("GB18030", "gb18030"),
        ("UTF-8", "gb18030"),  # says one thing and writes the other
        ("GB2312", "utf-8-sig"),
        ("utf-8", "utf-8-sig"),
        ("windows-1252", "utf-8"),
    ],
)
def test_devices_write_other_encodings_than_they_say(declared: str, codec: str) -> None:
    text = f'<?xml version="1.0" encoding="{declared}"?><a>移动侦测，东门</a>'
    assert parse(text.encode(codec)).text == "移动侦测，东门"


@pytest.mark.parametrize("codec", ["utf-8", "gb18030"])
def test_without_a_declaration(codec: str) -> None:
    assert parse("\r\n<a>大门</a>\r\n".encode(codec)).text == "大门"
    assert parse("\r\n<?xml version='1.0'?>\n<a>大门</a>\r\n".encode(codec)).text == "大门"


def test_bytes_that_fit_no_encoding_are_marked() -> None:
    assert parse(b'<?xml version="1.0" encoding="GB2312"?><a>ok \xff\xff</a>').text == "ok ��"
    assert parse(b"\xef\xbb\xbf<a>ok \xff</a>").text == "ok �"


def test_elements_are_found_in_any_case() -> None:
    root = parse(b"<Notify a='1'>\n <deviceid> x </deviceid>\n <Info><SN>1</SN></Info>\n</Notify>")
    assert root.get("DeviceID") == "x"
    assert root.get("info", "sn") == "1"
    assert root.get("info", "none", "sn") == ""
    assert root.text == ""
    assert root.attribute("a") == "1"
    assert root.attribute("b") is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<",
        b"<a>",
        b"<a></b>",
        b"<a/><b/>",
        b"text",
        b"<a>\0</a>",
        b"<a>&nbsp;</a>",
        b"<a>&#0;</a>",
        b"<a b='1' b='2'/>",
        "<a/>".encode("utf-16"),
        b"<!DOCTYPE a><a/>",
        b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>',
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>',
        b'<!DOCTYPE a [<!ENTITY % x SYSTEM "http://192.0.2.1/"> %x;]><a/>',
        b"<a>" * (MAX_DEPTH + 1) + b"</a>" * (MAX_DEPTH + 1),
        b"<a>" + b"<b/>" * MAX_ELEMENTS + b"</a>",
        b"<a>" + b" " * MAX_BYTES + b"</a>",
    ],
)
def test_what_is_refused(body: bytes) -> None:
    with pytest.raises(NotXmlError) as refused:
        parse(body)
    assert refused.value.what


def test_the_bounds_themselves_are_taken() -> None:
    assert parse(b"<a>" * MAX_DEPTH + b"</a>" * MAX_DEPTH).name == "a"
    assert len(parse(b"<a>" + b"<b/>" * (MAX_ELEMENTS - 1) + b"</a>").children) == MAX_ELEMENTS - 1
    assert parse(b"<a>" + b"x" * (MAX_BYTES - 7) + b"</a>").text == "x" * (MAX_BYTES - 7)


@pytest.mark.parametrize(
    "body",
    [
        b"<a " + b" ".join(b"b%d='1'" % n for n in range(8000)) + b"/>",
        b"<a>" + b"&#x4e2d;" * 8000 + b"</a>",
        b"<?xml " + b" " * 65000 + b"?><a/>",
        b"<a>" + b"<!---->" * 9000 + b"</a>",
        b"<" * 65000,
        b"<a>" + b"<b>x</b>" * 8000 + b"</a>",
    ],
)
def test_the_worst_bodies_cost_little(body: bytes) -> None:
    began = time.process_time()
    for _ in range(10):
        try:
            parse(body)
        except NotXmlError:
            continue
    assert time.process_time() - began < 2.0


@pytest.mark.parametrize(
    "element",
    [
        Element(""),
        Element("1a"),
        Element("a b"),
        Element("a>"),
        Element("ü"),
        Element("a", attributes=(("b c", ""),)),
        Element("a", "\0"),
        Element("a", "\x1b"),
        Element("a", "\ud800"),
        Element("a", "\uffff"),
        Element("a", attributes=(("b", "\x01"),)),
        Element("a", children=(Element("b", "\x01"),)),
    ],
)
def test_what_cannot_be_written_is_refused(element: Element) -> None:
    with pytest.raises(ControlBuildError):
        build(element)


def test_an_unknown_encoding_is_refused() -> None:
    with pytest.raises(ControlBuildError, match="UTF-16"):
        build(Element("a"), "UTF-16")


@given(st.binary(max_size=200) | ELEMENTS.map(build))
def test_any_bytes_parse_or_raise(body: bytes) -> None:
    try:
        element = parse(body)
    except ControlError:
        return
    assert element.name
