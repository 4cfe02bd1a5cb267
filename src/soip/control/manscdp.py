"""Keepalives, alarms, and the answer to an alarm (GB/T 28181 §9.4, §9.6, Annex A).

Each travels as the body of a MESSAGE. Its 200 has no body; the answer to an alarm is a MESSAGE of its own, with the SN
of the alarm.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime

from soip.control.errors import ControlBuildError, NotUnderstoodError
from soip.control.xml import BLANK, Element
from soip.control.xml import build as build_xml
from soip.control.xml import parse as parse_xml

CONTENT_TYPE = "Application/MANSCDP+xml"
"""As it is written; compared in any case."""

MAX_SN = 2**32 - 1
MAX_DESCRIPTION = 1024
MAX_FAULTY = 256
MAX_TIME = 64

LOWEST_PRIORITY = 4
OTHER_METHOD = 7

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_NUMBER = re.compile(r"[0-9]{1,10}")
# A keepalive as nearly all devices write it, in ASCII, which is the same text in every encoding.
_USUAL_KEEPALIVE = re.compile(
    rb"[ \t\r\n]*+(?>(?:<\?xml[ \t\r\n][ !-;=?-~\t\r\n]{0,200}?\?>[ \t\r\n]*+)?)<Notify>[ \t\r\n]*+"
    rb"<CmdType>Keepalive</CmdType>[ \t\r\n]*+<SN>([0-9]{1,9}+)</SN>[ \t\r\n]*+"
    rb"<DeviceID>([A-Za-z0-9_][A-Za-z0-9._-]{0,63}+)</DeviceID>[ \t\r\n]*+"
    rb"(?>(?:<Status>([A-Za-z]{1,32}+)</Status>[ \t\r\n]*+)?)(?>(?:<Info>[ \t\r\n]*+</Info>[ \t\r\n]*+)?)"
    rb"</Notify>[ \t\r\n]*+"
)
_USUAL_BYTES = 1024
_DEGREES = re.compile(r"[+-]?[0-9]{1,3}(?:\.[0-9]{1,20})?")


@dataclass(frozen=True, slots=True)
class Keepalive:
    """A device's sign of life. `faulty` are its children that do not work. What a device leaves out is 0 or ""."""

    device: str = ""
    sn: int = 0
    status: str = "OK"
    faulty: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something has happened at a camera.

    `priority` 1 (highest) to 4. `method` 1 telephone, 2 device, 3 short message, 4 position, 5 video, 6 device fault,
    7 other. `type` says more, by method: of video 1 manual, 2 motion, 3 object left, 4 object removed, 5 line crossed,
    6 intrusion, 7 wrong direction, 8 loitering, 9 flow, 10 density, 11 abnormal, 12 fast. `event` of an intrusion: 1
    enters, 2 leaves. `time` is the device's own clock in its own zone, ISO 8601 where it can be read, else as written.
    Degrees are kept to six places.
    """

    device: str
    sn: int
    time: str
    priority: int = LOWEST_PRIORITY
    method: int = OTHER_METHOD
    description: str = ""
    longitude: float | None = None
    latitude: float | None = None
    type: int | None = None
    event: int | None = None

    @property
    def event_id(self) -> str:
        """The id of this event everywhere: the same for the same alarm sent again (device, SN and time)."""
        name = f"{self.device}\0{self.sn}\0{self.time}".encode()
        return hashlib.blake2b(name, digest_size=16).hexdigest()


@dataclass(frozen=True, slots=True)
class AlarmResponse:
    """The answer to an alarm: it has been taken, or not."""

    device: str
    sn: int
    ok: bool = True


Message = Keepalive | Alarm | AlarmResponse


def parse(body: bytes) -> Message:
    """What a body says. Raises NotXmlError, NotUnderstoodError."""
    return _usual_keepalive(body) or _of_tree(parse_xml(body))


def _usual_keepalive(body: bytes) -> Keepalive | None:
    """What the tree would say of a keepalive of the usual form, without making the tree; None for all others."""
    match = _USUAL_KEEPALIVE.fullmatch(body) if len(body) <= _USUAL_BYTES else None
    if match is None:
        return None
    sn, device, status = match.groups()
    return Keepalive(device.decode(), int(sn), (status or b"").decode())


def _of_tree(root: Element) -> Message:
    kind, command = root.name.lower(), root.get("CmdType").lower()
    if (kind, command) == ("notify", "keepalive"):
        return _keepalive(root)
    if (kind, command) == ("notify", "alarm"):
        return _alarm(root)
    if (kind, command) == ("response", "alarm"):
        return AlarmResponse(_device(root), _sn(root), root.get("Result").upper() == "OK")
    raise NotUnderstoodError(f"{root.name[:40]} {root.get('CmdType')[:40]} is not known here")


def build(message: Message, encoding: str = "UTF-8") -> bytes:
    """The body of a message. Raises ControlBuildError for what is out of the standard's ranges."""
    if not (_ID.fullmatch(message.device) and 0 <= message.sn <= MAX_SN):
        raise ControlBuildError("a message needs the id of a device, and an SN of 32 bits")
    if isinstance(message, Keepalive):
        return build_xml(_keepalive_element(message), encoding)
    if isinstance(message, Alarm):
        return build_xml(_alarm_element(message), encoding)
    result = Element("Result", "OK" if message.ok else "ERROR")
    return build_xml(Element("Response", children=(*_head("Alarm", message), result)), encoding)


def _keepalive(root: Element) -> Keepalive:
    info = root.find("Info")
    ids = [child.text for child in info.children if child.name.lower() == "deviceid"] if info else []
    faulty = tuple(name for name in ids[:MAX_FAULTY] if _ID.fullmatch(name))
    device = root.get("DeviceID")
    sn = _number(root.get("SN"), MAX_SN) or 0
    return Keepalive(device if _ID.fullmatch(device) else "", sn, root.get("Status")[:32], faulty)


def _keepalive_element(message: Keepalive) -> Element:
    children = [*_head("Keepalive", message), Element("Status", message.status)]
    if message.faulty:
        children.append(Element("Info", children=tuple(Element("DeviceID", name) for name in message.faulty)))
    return Element("Notify", children=tuple(children))


def _alarm(root: Element) -> Alarm:
    return Alarm(
        device=_device(root),
        sn=_sn(root),
        time=_time(root.get("AlarmTime")),
        # An alarm that says these wrongly is an alarm all the same: it then counts as least urgent, of another kind.
        priority=_number(root.get("AlarmPriority"), 4, least=1) or LOWEST_PRIORITY,
        method=_number(root.get("AlarmMethod"), 7, least=1) or OTHER_METHOD,
        description=root.get("AlarmDescription")[:MAX_DESCRIPTION].strip(BLANK),
        longitude=_degrees(root.get("Longitude"), 180),
        latitude=_degrees(root.get("Latitude"), 90),
        type=_number(root.get("Info", "AlarmType") or root.get("AlarmType"), 999),
        event=_number(root.get("Info", "AlarmTypeParam", "EventType"), 999),
    )


def _alarm_element(alarm: Alarm) -> Element:
    if not (1 <= alarm.priority <= LOWEST_PRIORITY and 1 <= alarm.method <= OTHER_METHOD):
        raise ControlBuildError("an alarm's priority is 1 to 4, its method 1 to 7")
    if len(alarm.description) > MAX_DESCRIPTION or _time(alarm.time) != alarm.time:
        raise ControlBuildError("an alarm's description is too long, or its time not as ISO 8601 has it")
    children = [
        *_head("Alarm", alarm),
        Element("AlarmPriority", str(alarm.priority)),
        Element("AlarmMethod", str(alarm.method)),
        Element("AlarmTime", alarm.time),
    ]
    if alarm.description:
        children.append(Element("AlarmDescription", alarm.description))
    for name, value in (("Longitude", alarm.longitude), ("Latitude", alarm.latitude)):
        if value is not None:
            children.append(Element(name, f"{value:.6f}"))
    info = [Element("AlarmType", str(alarm.type))] if alarm.type is not None else []
    if alarm.event is not None:
        info.append(Element("AlarmTypeParam", children=(Element("EventType", str(alarm.event)),)))
    if info:
        children.append(Element("Info", children=tuple(info)))
    return Element("Notify", children=tuple(children))


def _head(command: str, message: Message) -> tuple[Element, ...]:
    return (Element("CmdType", command), Element("SN", str(message.sn)), Element("DeviceID", message.device))


def _device(root: Element) -> str:
    device = root.get("DeviceID")
    if not _ID.fullmatch(device):
        raise NotUnderstoodError("no DeviceID")
    return device


def _sn(root: Element) -> int:
    number = _number(root.get("SN"), MAX_SN)
    if number is None:
        raise NotUnderstoodError("no SN")
    return number


def _number(text: str, most: int, *, least: int = 0) -> int | None:
    """A whole number within a range, None for anything else."""
    return int(text) if _NUMBER.fullmatch(text) and least <= int(text) <= most else None


def _degrees(text: str, most: float) -> float | None:
    if not _DEGREES.fullmatch(text):
        return None
    value = round(float(text), 6)
    return value if -most <= value <= most else None


def _time(text: str) -> str:
    """A time in the one form of ISO 8601 that Annex A uses, or, where it cannot be read, what was written."""
    text = text[:MAX_TIME].strip(BLANK)
    try:
        return datetime.fromisoformat(text).isoformat()
    except ValueError:
        return text
