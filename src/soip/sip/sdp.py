"""Session descriptions (RFC 8866), kept line by line and written back exactly as they came.

A description is its lines. What we understand is a typed view of some of them; lines nobody here knows, such
as the `y=` and `f=` of GB/T 28181, stay where they stood. Line breaks are written as CR LF (RFC 8866 §5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from soip.sip.errors import SdpError, SipBuildError

MAX_LENGTH = 65536
MAX_LINES = 1000
MAX_MEDIA = 64

NTP_EPOCH = 2_208_988_800
"""Seconds from 1900 to 1970. A t= below it is read as UNIX seconds: devices write both."""

DIRECTIONS = ("sendrecv", "sendonly", "recvonly", "inactive")

_LINE = re.compile(r"([A-Za-z])=([^\x00\r\n]*+)")
_ORIGIN = re.compile(r"(\S++) (\S++) (\S++) IN (IP[46]) (\S++)[ \t]*+")
_CONNECTION = re.compile(r"IN (IP[46]) ([^\s/]++)(?>(?:/[0-9/]++)?)[ \t]*+")
_TIME = re.compile(r"([0-9]{1,19}+)[ \t]++([0-9]{1,19}+)[ \t]*+")
_MEDIA = re.compile(r"([^\s]++) ([0-9]{1,5}+)(?>(?:/([0-9]{1,5}+))?) ([^\s]++)((?>(?:[ \t]++[^\s]++)*))[ \t]*+")
_RTPMAP = re.compile(r"([0-9]{1,3}+)[ \t]++([^\s/]++)/([0-9]{1,9}+)(?>(?:/([0-9]{1,3}+))?)[ \t]*+")
_UNSAFE = re.compile(r"[\r\n\x00]")
_KNOWN = frozenset("vosiuepcbtrzkam")
_PAYLOAD_TYPES = {str(number): number for number in range(128)}


@dataclass(frozen=True, slots=True)
class RtpMap:
    """What a payload type stands for: encoding name (upper case), clock in Hz, audio channels."""

    encoding: str
    clock_rate: int
    channels: int = 1

    def __str__(self) -> str:
        return f"{self.encoding}/{self.clock_rate}" + (f"/{self.channels}" if self.channels > 1 else "")


# RFC 3551 §6: the types that need no rtpmap, as far as cameras and phones use them
STATIC_TYPES = {
    0: RtpMap("PCMU", 8000),
    3: RtpMap("GSM", 8000),
    8: RtpMap("PCMA", 8000),
    9: RtpMap("G722", 8000),
    18: RtpMap("G729", 8000),
    26: RtpMap("JPEG", 90000),
    31: RtpMap("H261", 90000),
    33: RtpMap("MP2T", 90000),
    34: RtpMap("H263", 90000),
}


@dataclass(frozen=True, slots=True)
class Origin:
    """The o= line (RFC 8866 §5.2): `session_id` names the session, `version` rises with each change."""

    username: str
    session_id: str
    version: str
    address: str

    def __str__(self) -> str:
        where = f"IN {address_type(self.address)} {self.address}"
        return f"{self.username} {self.session_id} {self.version} {where}"


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A t= line in UNIX seconds; None where it is unbounded (0)."""

    start: int | None
    stop: int | None


def address_type(address: str) -> str:
    """IP4 or IP6; names count as IP4."""
    return "IP6" if ":" in address else "IP4"


def unix_seconds(value: int) -> int | None:
    """A number of a t= line as UNIX seconds, None for 0 (RFC 8866 §5.9, and see NTP_EPOCH)."""
    if value == 0:
        return None
    return value - NTP_EPOCH if value >= NTP_EPOCH else value


def ntp_seconds(value: int | None) -> int:
    """UNIX seconds as they are written in a t= line."""
    return 0 if value is None else value + NTP_EPOCH


class Section:
    """Lines of the session part or of one media part: (type letter, value), in order."""

    def __init__(self, lines: Iterable[tuple[str, str]] = ()) -> None:
        self.lines: list[tuple[str, str]] = []
        for kind, value in lines:
            self.add(kind, value)

    def add(self, kind: str, value: str) -> None:
        """Append a line. Raises SipBuildError for a line break or a type that is no letter."""
        if len(kind) != 1 or not kind.isalpha() or not kind.isascii() or _UNSAFE.search(value):
            raise SipBuildError(f"not an SDP line: {kind}={value!r}")
        self.lines.append((kind, value))

    def first(self, kind: str) -> str | None:
        """Value of the first line of a type."""
        return next((value for key, value in self.lines if key == kind), None)

    def set(self, kind: str, value: str) -> None:
        """Replace the first line of a type, or append it."""
        replacement = Section([(kind, value)]).lines[0]
        for at, (key, _) in enumerate(self.lines):
            if key == kind:
                self.lines[at] = replacement
                return
        self.lines.append(replacement)

    def add_attribute(self, name: str, value: str = "") -> None:
        """Append `a=name:value`, or `a=name`."""
        self.add("a", f"{name}:{value}" if value else name)

    def attributes(self, name: str) -> list[str]:
        """Values of all attributes of that name, "" for a flag."""
        found = []
        for kind, value in self.lines:
            if kind == "a":
                key, _, rest = value.partition(":")
                if key.strip().lower() == name:
                    found.append(rest.strip())
        return found

    def attribute(self, name: str) -> str | None:
        """Value of the first attribute of that name, "" for a flag, None when absent."""
        found = self.attributes(name)
        return found[0] if found else None

    @property
    def connection(self) -> str | None:
        """The address of the c= line, without TTL."""
        value = self.first("c")
        match = None if value is None else _CONNECTION.fullmatch(value)
        return None if match is None else match[2]

    @property
    def own_direction(self) -> str | None:
        """The direction attribute of this section itself; the last one counts."""
        names = [value.strip().lower() for kind, value in self.lines if kind == "a"]
        return next((name for name in reversed(names) if name in DIRECTIONS), None)

    @property
    def unknown(self) -> list[tuple[str, str]]:
        """Lines of types RFC 8866 does not know."""
        return [line for line in self.lines if line[0] not in _KNOWN]

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, Section) and self.lines == other.lines

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __str__(self) -> str:
        return "".join([f"{kind}={value}\r\n" for kind, value in self.lines])

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.lines!r})"


class Media(Section):
    """One media part: its m= line and what follows it (RFC 8866 §5.14)."""

    def __init__(self, lines: Iterable[tuple[str, str]]) -> None:
        super().__init__(lines)
        match = _MEDIA.fullmatch(self.lines[0][1]) if self.lines and self.lines[0][0] == "m" else None
        if match is None or int(match[2]) > 65535:
            raise SdpError("malformed m= line")
        self.kind: str = match[1].lower()
        self.port = int(match[2])
        self.protocol: str = match[4].upper()
        self.formats: list[str] = match[5].split()

    @classmethod
    def make(cls, kind: str, port: int, protocol: str, formats: Iterable[str]) -> Media:
        """A new media part with only its m= line."""
        return cls([("m", f"{kind} {port} {protocol} {' '.join(formats)}")])

    @property
    def rtpmaps(self) -> dict[int, RtpMap]:
        """Payload type → encoding, for the types of the m= line in their order. Static types need no rtpmap;
        unreadable ones are left out."""
        named = {}
        for value in self.attributes("rtpmap"):
            match = _RTPMAP.fullmatch(value)
            if match is not None:
                named[int(match[1])] = RtpMap(match[2].upper(), int(match[3]), int(match[4] or 1))
        maps = {}
        for text in self.formats:
            number = _PAYLOAD_TYPES.get(text, -1)
            entry = named.get(number) or STATIC_TYPES.get(number)
            if entry is not None:
                maps[number] = entry
        return maps

    def fmtp(self, payload_type: int) -> dict[str, str]:
        """Format parameters of a payload type: names in lower case, "" for a bare one."""
        params: dict[str, str] = {}
        for value in self.attributes("fmtp"):
            number, _, rest = value.partition(" ")
            if number != str(payload_type):
                continue
            for part in rest.split(";"):
                name, _, content = part.partition("=")
                if name.strip():
                    params[name.strip().lower()] = content.strip()
        return params

    def feedback(self, payload_type: int) -> frozenset[str]:
        """RTCP feedback for a payload type, such as "nack pli" and "ccm fir" (RFC 4585 §4.2)."""
        found = set()
        for value in self.attributes("rtcp-fb"):
            number, _, rest = value.partition(" ")
            if number in ("*", str(payload_type)):
                found.add(" ".join(rest.lower().split()))
        return frozenset(found)

    @property
    def rtcp(self) -> tuple[int, str | None] | None:
        """Port and perhaps address of a=rtcp (RFC 3605), None when absent or malformed."""
        value = self.attribute("rtcp")
        parts = [] if value is None else value.split()
        if not parts or not parts[0].isascii() or not parts[0].isdigit() or len(parts[0]) > 5:
            return None
        port = int(parts[0])
        return (port, parts[3] if len(parts) == 4 else None) if 0 < port < 65536 else None


class SessionDescription(Section):
    """A whole description: the session's own lines, and its media parts in order."""

    def __init__(self, lines: Iterable[tuple[str, str]] = (), media: Iterable[Media] = ()) -> None:
        super().__init__(lines)
        self.media: list[Media] = list(media)

    @classmethod
    def parse(cls, data: bytes | str) -> SessionDescription:
        """Read a description. Bare LF and a missing last line break are taken, empty lines passed over.

        Raises SdpError, with the offset of the line, for what is no SDP: no v=0 at the top, an unusable c=,
        t= or m= line, too many lines. Lines of unknown types are kept.
        """
        text = data.decode("utf-8", "surrogateescape") if isinstance(data, bytes) else data
        if len(text) > MAX_LENGTH:
            raise SdpError("session description too long", MAX_LENGTH)
        parts = _split(text)
        if not parts or not parts[0] or parts[0][0][1:] != ("v", "0"):
            raise SdpError("a session description begins with v=0")
        media = []
        for part in parts[1:]:
            try:
                media.append(Media([(kind, value) for _, kind, value in part]))
            except SdpError as error:
                raise SdpError(error.what, part[0][0]) from None
        return cls([(kind, value) for _, kind, value in parts[0]], media)

    @classmethod
    def make(cls, origin: Origin, name: str = "-", time: TimeRange | None = None) -> SessionDescription:
        """A new description without media: v=, o=, s=, c= and t= lines. `time` defaults to unbounded."""
        when = time or TimeRange(None, None)
        return cls(
            [
                ("v", "0"),
                ("o", str(origin)),
                ("s", name),
                ("c", f"IN {address_type(origin.address)} {origin.address}"),
                ("t", f"{ntp_seconds(when.start)} {ntp_seconds(when.stop)}"),
            ]
        )

    @property
    def origin(self) -> Origin | None:
        """The o= line, None when it is missing or malformed: nothing of ours depends on it."""
        match = _ORIGIN.fullmatch(self.first("o") or "")
        return None if match is None else Origin(match[1], match[2], match[3], match[5])

    @property
    def name(self) -> str:
        """The s= line: "Playback" and "Download" mean something to us, anything else is live."""
        return (self.first("s") or "").strip()

    @property
    def time(self) -> TimeRange:
        """The first t= line in UNIX seconds."""
        match = _TIME.fullmatch(self.first("t") or "")
        if match is None:
            return TimeRange(None, None)
        return TimeRange(unix_seconds(int(match[1])), unix_seconds(int(match[2])))

    def direction(self, media: Media) -> str:
        """Direction of a media part: its own, else the session's, else sendrecv (RFC 8866 §6.7)."""
        return media.own_direction or self.own_direction or "sendrecv"

    def address(self, media: Media) -> str | None:
        """Connection address of a media part: its own, else the session's (RFC 8866 §5.7)."""
        return media.connection or self.connection

    def of_kind(self, kind: str) -> Media | None:
        """The first media part of a kind ("video", "audio")."""
        return next((media for media in self.media if media.kind == kind), None)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SessionDescription) and (self.lines, self.media) == (
            other.lines,
            other.media,
        )

    def __str__(self) -> str:
        return super().__str__() + "".join([str(media) for media in self.media])

    def to_bytes(self) -> bytes:
        """The description on the wire, bytes that were no UTF-8 included."""
        return str(self).encode("utf-8", "surrogateescape")


_CHECKS = {"c": _CONNECTION, "t": _TIME}


def _split(text: str) -> list[list[tuple[int, str, str]]]:
    """Lines with their offsets, a new list at each m=. Raises SdpError for a line that is none."""
    parts: list[list[tuple[int, str, str]]] = [[]]
    offset = 0
    lines = text.split("\n")
    if len(lines) > MAX_LINES:
        raise SdpError("too many lines in the session description")
    for line in lines:
        content = line.removesuffix("\r")
        if content:
            match = _LINE.fullmatch(content)
            if match is None:
                raise SdpError("malformed line in the session description", offset)
            kind, value = match.groups()
            check = _CHECKS.get(kind)
            if check is not None and not check.fullmatch(value):
                raise SdpError(f"malformed {kind}= line", offset)
            if kind == "m":
                parts.append([])
            parts[-1].append((offset, kind, value))
        offset += len(line) + 1
    if len(parts) > MAX_MEDIA + 1:
        raise SdpError("too many media in the session description")
    return parts
