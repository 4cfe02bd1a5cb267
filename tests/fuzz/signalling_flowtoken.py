"""Fuzz target: the user part of a Route that says it is ours."""

from __future__ import annotations

from soip.signalling import flowtoken
from soip.signalling.flows import FlowKey, InstanceFlow, parse_way
from soip.signalling.flowtoken import End, Path

KEY = b"0123456789abcdef0123456789abcdef"
PATH = Path(End(FlowKey("tcp", "2001:db8::1", 5060, 7), "ann"), End(InstanceFlow("media-0"), "cam1"))

SAMPLES = (
    flowtoken.issue(KEY, PATH).encode(),
    b"udp:10.0.0.1:5060",
    b"tcp:[::1]:5060#12",
    b"instance:media-0",
    b"route:pbx",
)


def fuzz(data: bytes) -> None:
    """A token reads as a path whose token it is, or as none; a way reads back as its text, or raises ValueError."""
    text = data.decode("latin-1")
    path = flowtoken.read(KEY, text)
    if path is not None:
        assert path == PATH, "made up without the key"
    try:
        way = parse_way(text)
    except ValueError:
        return
    assert parse_way(str(way)) == way
