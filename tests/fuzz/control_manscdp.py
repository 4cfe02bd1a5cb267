"""Fuzz target: bodies of the control profile."""

from __future__ import annotations

from soip.control.errors import ControlParseError
from soip.control.manscdp import Alarm, Keepalive, _of_tree, _usual_keepalive, build, parse
from soip.control.xml import parse as parse_xml
from tests.control.samples import SAMPLES as SAMPLES


def fuzz(data: bytes) -> None:
    """Any bytes parse or raise ControlParseError; what parses is written, and reads back the same. What is read without
    the tree is what the tree says.
    """
    usual = _usual_keepalive(data)
    assert usual is None or usual == _of_tree(parse_xml(data))
    try:
        message = parse(data)
    except ControlParseError:
        return
    if isinstance(message, Keepalive) and not message.device:
        return  # liberally taken, and never written
    for encoding in ("UTF-8", "GB2312"):
        assert parse(build(message, encoding)) == message
    if isinstance(message, Alarm):
        assert len(message.event_id) == 32
