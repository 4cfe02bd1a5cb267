"""What a caller asks for: a camera live, or a range of its recordings (docs/design/wire.md)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from soip.policy.access import Permission
from soip.sip.sdp import SessionDescription
from soip.sip.uri import join_user, split_user

LONGEST_S = 24 * 3600
"""A range without an end, or a longer one, is cut to this."""
MAIN, SUB = "main", "sub"
"""The streams of a camera, as the parameter `stream` of a user part names them."""

_CLOCK = re.compile(r"(\d{8}T\d{6})(?:\.(\d{1,6}))?Z")


class RequestError(Exception):
    """The caller's fault: `status` and a text for the Warning header."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Wanted:
    """A camera, and the range to play back (UTC microseconds) or None for live; of that the main or the sub-stream."""

    camera: str
    range_us: tuple[int, int] | None
    stream: str = MAIN

    @property
    def permission(self) -> Permission:
        return Permission.WATCH if self.range_us is None else Permission.PLAYBACK


def parse_clock(text: str) -> int:
    """UTC microseconds of `20261120T100000Z`, with up to six decimals (RFC 2326 §3.7). Raises RequestError 400."""
    match = _CLOCK.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        moment = datetime.strptime(match[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        raise RequestError(400, f"{text!r} is not a time like 20261120T100000Z") from None
    return int(moment.timestamp()) * 1_000_000 + int((match[2] or "0").ljust(6, "0"))


def address(camera: str, stream: str) -> str:
    """The user part by which a stream of a camera is called: `cam1`, or `cam1;stream=sub`."""
    return camera if stream == MAIN else join_user(camera, {"stream": stream})


def wanted(user: str, offer: SessionDescription | None) -> Wanted:
    """Read the user part of the Request-URI, and of the offer `s=` and `t=`. Raises RequestError, UriError."""
    camera, params = split_user(user)
    stream = params.get("stream", MAIN).lower()
    if stream not in (MAIN, SUB):
        raise RequestError(404, f"a camera has no stream {stream[:64]!r}: ask for main or sub")
    start = stop = None
    if "start" in params or "stop" in params:
        if "start" not in params:
            raise RequestError(400, "a range needs a start, for example ;start=20261120T100000Z")
        start = parse_clock(params["start"])
        stop = parse_clock(params["stop"]) if "stop" in params else None
    elif offer is not None and offer.name.lower() == "playback":
        time = offer.time
        if time.start is None:
            raise RequestError(400, "s=Playback needs a t= line that says from when")
        start = time.start * 1_000_000
        stop = time.stop * 1_000_000 if time.stop is not None else None
    if start is None:
        return Wanted(camera, None, stream)
    if stream != MAIN:
        raise RequestError(404, "the sub-stream is not recorded: play back without ;stream=sub")
    latest = start + LONGEST_S * 1_000_000
    stop = latest if stop is None else min(stop, latest)
    if stop <= start:
        raise RequestError(400, "the range ends before it begins")
    return Wanted(camera, (start, stop))
