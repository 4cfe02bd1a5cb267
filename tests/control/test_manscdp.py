"""Keepalives, alarms and their answers: as devices write them, as we do, and what is wrong with the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.control.errors import ControlBuildError, NotUnderstoodError, NotXmlError
from soip.control.manscdp import (
    MAX_DESCRIPTION,
    MAX_FAULTY,
    MAX_SN,
    Alarm,
    AlarmResponse,
    Keepalive,
    Message,
    _of_tree,
    _usual_keepalive,
    build,
    parse,
)
from soip.control.xml import BLANK, ENCODINGS
from soip.control.xml import parse as parse_xml
from tests.control.samples import ALARM, ALARM_TEXT, KEEPALIVE, RESPONSE
from tests.fuzz import control_manscdp, seeds

IDS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}", fullmatch=True)
NUMBERS = st.integers(0, MAX_SN)
_TEXT = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=MAX_DESCRIPTION
).map(lambda text: text.strip(BLANK))
_TIMES = st.datetimes().map(lambda moment: moment.isoformat()) | st.datetimes(
    timezones=st.timezones(), allow_imaginary=False
).map(lambda moment: moment.isoformat())


def _degrees(most: int) -> st.SearchStrategy[float | None]:
    return st.none() | st.integers(-most * 1_000_000, most * 1_000_000).map(lambda millionths: millionths / 1e6)


ALARMS = st.builds(
    Alarm,
    device=IDS,
    sn=NUMBERS,
    time=_TIMES | st.just("") | st.just("yesterday"),
    priority=st.integers(1, 4),
    method=st.integers(1, 7),
    description=_TEXT,
    longitude=_degrees(180),
    latitude=_degrees(90),
    type=st.none() | st.integers(0, 999),
    event=st.none() | st.integers(0, 999),
)
KEEPALIVES = st.builds(
    Keepalive, IDS, NUMBERS, st.sampled_from(["OK", "ERROR"]), st.lists(IDS, max_size=MAX_FAULTY).map(tuple)
)
MESSAGES: st.SearchStrategy[Message] = ALARMS | KEEPALIVES | st.builds(AlarmResponse, IDS, NUMBERS, st.booleans())


@given(MESSAGES, st.sampled_from(ENCODINGS))
def test_what_is_built_reads_back(message: Message, encoding: str) -> None:
    assert parse(build(message, encoding)) == message


@given(ALARMS, ALARMS)
def test_an_event_is_its_device_number_and_time(one: Alarm, other: Alarm) -> None:
    same = (one.device, one.sn, one.time) == (other.device, other.sn, other.time)
    assert (one.event_id == other.event_id) == same
    again = replace(one, priority=1, method=1, description="again")
    assert again.event_id == one.event_id
    assert len(one.event_id) == 32


def test_a_keepalive_as_devices_write_it() -> None:
    faulty = ("34020000001340000001", "34020000001340000002")
    assert parse(KEEPALIVE) == Keepalive("34020000001320000001", 43, "OK", faulty)


def test_a_keepalive_needs_nothing_but_its_name() -> None:
    assert parse(b"<notify><cmdtype>KEEPALIVE</cmdtype></notify>") == Keepalive("", 0, "")
    bad = b"<Notify><CmdType>Keepalive</CmdType><SN>x</SN><DeviceID>a b</DeviceID><Info><DeviceID/></Info></Notify>"
    assert parse(bad) == Keepalive("", 0, "")


def test_the_children_of_a_keepalive_are_bounded() -> None:
    children = b"<DeviceID>a</DeviceID>" * (MAX_FAULTY + 9)
    told = parse(b"<Notify><CmdType>Keepalive</CmdType><Info>" + children + b"</Info></Notify>")
    assert isinstance(told, Keepalive)
    assert len(told.faulty) == MAX_FAULTY


EXPECTED = Alarm("34020000001340000001", 7, "2026-11-20T10:00:01", 2, 5, "移动侦测", 126.978, 37.5665, type=6, event=1)


def test_an_alarm_as_devices_write_it() -> None:
    assert parse(ALARM) == EXPECTED
    for encoding, codec in (("UTF-8", "utf-8"), ("UTF-8", "gb18030"), ("GB18030", "gb18030")):
        assert parse(ALARM_TEXT.format(encoding=encoding).encode(codec)) == EXPECTED


def alarm(**fields: str) -> bytes:
    """A body with these elements."""
    values = {"SN": "1", "DeviceID": "cam1", "AlarmTime": "2026-11-20T10:00:00", **fields}
    inside = "".join(f"<{name}>{value}</{name}>" for name, value in values.items())
    return f"<Notify><CmdType>Alarm</CmdType>{inside}</Notify>".encode()


PLAIN = Alarm("cam1", 1, "2026-11-20T10:00:00")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, PLAIN),
        ({"AlarmPriority": "0", "AlarmMethod": "8"}, PLAIN),
        ({"AlarmPriority": "high", "AlarmMethod": "-1"}, PLAIN),
        ({"AlarmPriority": "1", "AlarmMethod": "2"}, replace(PLAIN, priority=1, method=2)),
        ({"AlarmType": "2"}, replace(PLAIN, type=2)),
        ({"AlarmType": "2", "Info": "<AlarmType>3</AlarmType>"}, replace(PLAIN, type=3)),
        ({"Longitude": "1e9", "Latitude": "90.0000001"}, replace(PLAIN, latitude=90.0)),
        ({"Longitude": "181", "Latitude": "nan"}, PLAIN),
        ({"Longitude": "-0.5", "Latitude": "+7"}, replace(PLAIN, longitude=-0.5, latitude=7.0)),
        ({"AlarmTime": "2026-11-20 10:00:00"}, PLAIN),
        ({"AlarmTime": "20261120T100000"}, PLAIN),
        ({"AlarmTime": "2026-11-20T10:00:00.000"}, PLAIN),
        ({"AlarmTime": "2026-11-20T10:00:00Z"}, replace(PLAIN, time="2026-11-20T10:00:00+00:00")),
        ({"AlarmTime": "0000-00-00T00:00:00"}, replace(PLAIN, time="0000-00-00T00:00:00")),
        ({"AlarmTime": ""}, replace(PLAIN, time="")),
        ({"AlarmTime": "9" * 300}, replace(PLAIN, time="9" * 64)),
        ({"AlarmDescription": "x" * 5000}, replace(PLAIN, description="x" * MAX_DESCRIPTION)),
        ({"AlarmDescription": "a&lt;b &amp; c"}, replace(PLAIN, description="a<b & c")),
    ],
)
def test_alarms_that_say_things_in_their_own_way(fields: dict[str, str], expected: Alarm) -> None:
    told = parse(alarm(**fields))
    assert told == expected
    assert parse(build(told)) == told


@pytest.mark.parametrize(
    "body",
    [
        alarm(SN=""),
        alarm(SN="-1"),
        alarm(SN=str(MAX_SN + 1)),
        alarm(SN="1" * 5000),
        alarm(DeviceID=""),
        alarm(DeviceID="a b"),
        alarm(DeviceID=".."),
        alarm(DeviceID="x" * 65),
        b"<Notify><CmdType>Catalog</CmdType></Notify>",
        b"<Control><CmdType>Alarm</CmdType></Control>",
        b"<Response><CmdType>Alarm</CmdType><SN>1</SN></Response>",
        b"<CmdType>Keepalive</CmdType>",
        b"<a/>",
    ],
)
def test_what_is_not_understood(body: bytes) -> None:
    with pytest.raises(NotUnderstoodError) as refused:
        parse(body)
    assert len(refused.value.what) < 120


def test_what_is_no_xml() -> None:
    with pytest.raises(NotXmlError):
        parse(b"INVITE")


def test_the_answer_to_an_alarm() -> None:
    assert parse(RESPONSE) == AlarmResponse("34020000001340000001", 7)
    assert parse(RESPONSE.replace(b"OK", b"ERROR")) == AlarmResponse("34020000001340000001", 7, ok=False)


@pytest.mark.parametrize(
    "message",
    [
        replace(PLAIN, device=""),
        replace(PLAIN, device="a b"),
        replace(PLAIN, sn=-1),
        replace(PLAIN, sn=MAX_SN + 1),
        replace(PLAIN, priority=0),
        replace(PLAIN, priority=5),
        replace(PLAIN, method=8),
        replace(PLAIN, time="2026-11-20 10:00:00"),
        replace(PLAIN, description="x" * (MAX_DESCRIPTION + 1)),
        replace(PLAIN, description="\0"),
        Keepalive(""),
        AlarmResponse("a/b", 1),
    ],
)
def test_what_the_standard_has_no_place_for_is_not_written(message: Message) -> None:
    with pytest.raises(ControlBuildError):
        build(message)


def test_fuzz() -> None:
    seeds.run(control_manscdp.fuzz, control_manscdp.SAMPLES)


# -- a keepalive of the usual form is read without the tree

_BLANKS = st.text(BLANK, max_size=3)
_TEXTS = st.sampled_from(
    ["", "0", "17", "4294967296", " 17 ", "cam1", "-", "a b", "é", "&amp;", "<!-- -->", "<x/>", "OK"]
)


@st.composite
def _keepalive_bodies(draw: st.DrawFn) -> bytes:
    """Keepalives as devices write them, and a little wrong: other text, elements twice, left out, in other order."""

    def element(name: str, usual: str) -> str:
        text = draw(st.just(usual) | st.just(usual) | _TEXTS)
        return f"{draw(_BLANKS)}<{name}>{text}</{name}>{draw(_BLANKS)}"

    parts = [
        element("CmdType", "Keepalive"),
        element("SN", str(draw(st.integers(0, 10**10)))),
        element("DeviceID", draw(IDS)),
        element("Status", "OK"),
        draw(
            st.sampled_from(
                ["", "<Info></Info>", "<Info>\r\n</Info>", "<Info/>", "<Info><DeviceID>c</DeviceID></Info>"]
            )
        ),
    ]
    if draw(st.integers(0, 4)) == 4:
        parts = draw(st.permutations(parts))
    if draw(st.integers(0, 4)) == 4:
        parts.pop(draw(st.integers(0, len(parts) - 1)))
    if draw(st.integers(0, 4)) == 4:
        parts.append(draw(st.sampled_from(parts)))
    start = draw(
        st.sampled_from(["", '<?xml version="1.0"?>\r\n', '<?xml version="1.0" encoding="GB2312"?>', "<?xml ?>\n"])
    )
    end = draw(st.sampled_from(["", "\r\n", "\0", "x", "<!-- -->", "<a/>"]) | _BLANKS)
    return f"{draw(_BLANKS)}{start}<Notify>{''.join(parts)}</Notify>{end}".encode()


def _outcome(read: Callable[[bytes], Message], body: bytes) -> Message | str:
    try:
        return read(body)
    except (NotXmlError, NotUnderstoodError) as error:
        return str(error)


@given(_keepalive_bodies())
def test_a_keepalive_is_read_as_its_tree_is(body: bytes) -> None:
    assert _outcome(parse, body) == _outcome(lambda body: _of_tree(parse_xml(body)), body)


@given(KEEPALIVES, st.sampled_from(ENCODINGS))
def test_what_we_write_is_read_without_the_tree_where_nothing_is_wrong(message: Keepalive, encoding: str) -> None:
    read = _usual_keepalive(build(message, encoding))
    assert read == message or (read is None and (message.faulty or message.sn >= 10**9))


def test_what_is_not_of_the_usual_form_is_left_to_the_tree() -> None:
    body = build(Keepalive("cam1", 1))
    assert _usual_keepalive(body) == Keepalive("cam1", 1)
    assert _usual_keepalive(body + b" " * 1024) is None  # a body of this length is not usual
    assert parse(body + b" " * 1024) == Keepalive("cam1", 1)
    assert _usual_keepalive(build(Alarm("cam1", 1, ""))) is None
