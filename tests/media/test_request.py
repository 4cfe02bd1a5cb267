"""What callers ask for, in the address or in SDP."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.media.request import LONGEST_S, MAIN, SUB, RequestError, address, parse_clock, wanted
from soip.policy.access import Permission
from soip.sip.errors import SipError
from soip.sip.sdp import SessionDescription
from soip.sip.uri import Uri

TEN = 1_795_168_800_000_000  # 2026-11-20T10:00:00Z


def offer(name: str, time: str) -> SessionDescription:
    return SessionDescription.parse(f"v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns={name}\r\nt={time}\r\n".encode())


def test_a_plain_address_is_live() -> None:
    ask = wanted("cam1", offer("-", "0 0"))
    assert (ask.camera, ask.range_us, ask.permission) == ("cam1", None, Permission.WATCH)


def test_a_range_in_the_address_plays_back() -> None:
    ask = wanted("cam1;start=20261120T100000Z;stop=20261120T101000Z", None)
    assert ask.range_us == (TEN, TEN + 600_000_000)
    assert ask.permission is Permission.PLAYBACK


def test_a_range_without_an_end_reaches_a_day() -> None:
    assert wanted("cam1;start=20261120T100000Z", None).range_us == (TEN, TEN + LONGEST_S * 1_000_000)


@pytest.mark.parametrize(
    "time",
    [
        f"{TEN // 1_000_000 + 2_208_988_800} {TEN // 1_000_000 + 2_208_988_860}",
        f"{TEN // 1_000_000} {TEN // 1_000_000 + 60}",
    ],
)
def test_sdp_says_a_range_in_ntp_or_unix_seconds(time: str) -> None:
    assert wanted("cam1", offer("Playback", time)).range_us == (TEN, TEN + 60_000_000)


def test_any_other_session_name_is_live() -> None:
    assert wanted("cam1", offer("Kitchen", "1795168800 1795168860")).range_us is None


def test_fractions_of_a_second() -> None:
    assert parse_clock("20261120T100000.25Z") == TEN + 250_000


@pytest.mark.parametrize(
    "user",
    [
        "cam1;stop=20261120T100000Z",
        "cam1;start=yesterday",
        "cam1;start=20261320T100000Z",
        "cam1;start=20261120T100000",
        "cam1;start=20261120T100000Z;stop=20261120T100000Z",
        "cam1;start=20261120T100000Z;stop=20261120T090000Z",
    ],
)
def test_nonsense_is_the_callers_fault(user: str) -> None:
    with pytest.raises(RequestError) as error:
        wanted(user, None)
    assert error.value.status == 400


def test_playback_needs_a_time() -> None:
    with pytest.raises(RequestError, match="t="):
        wanted("cam1", offer("Playback", "0 0"))


@given(st.text(max_size=40))
def test_any_user_part_is_read_or_refused(user: str) -> None:
    try:
        ask = wanted(user, None)
    except (RequestError, SipError):
        return
    assert ask.range_us is None or ask.range_us[0] < ask.range_us[1]
    assert ask.stream == MAIN or (ask.stream == SUB and ask.range_us is None)


@pytest.mark.parametrize(
    ("user", "stream"),
    [
        ("cam1", MAIN),
        ("cam1;stream=main", MAIN),
        ("cam1;stream=sub", SUB),
        ("cam1;Stream=SUB", SUB),
        ("cam1;x=y", MAIN),
    ],
)
def test_an_address_says_which_stream(user: str, stream: str) -> None:
    ask = wanted(user, offer("-", "0 0"))
    assert (ask.camera, ask.stream, ask.permission) == ("cam1", stream, Permission.WATCH)


@pytest.mark.parametrize("value", ["third", "", "sub2", "x" * 300])
def test_a_stream_nobody_has_is_told_with_those_there_are(value: str) -> None:
    with pytest.raises(RequestError, match="ask for main or sub") as error:
        wanted(f"cam1;stream={value}", None)
    assert error.value.status == 404
    assert len(str(error.value)) < 150


def test_only_the_main_stream_is_played_back() -> None:
    assert wanted("cam1;stream=main;start=20261120T100000Z", None).stream == MAIN
    for user, told in (("cam1;stream=sub;start=20261120T100000Z", None), ("cam1;stream=sub", offer("Playback", "1 2"))):
        with pytest.raises(RequestError, match="not recorded") as error:
            wanted(user, told)
        assert error.value.status == 404


@given(st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True), st.sampled_from([MAIN, SUB]))
def test_the_address_of_a_stream_is_read_back_also_out_of_a_uri(camera: str, stream: str) -> None:
    user = Uri.parse(str(Uri("sip", address(camera, stream), "soip.test"))).user
    ask = wanted(user, None)
    assert (ask.camera, ask.stream, ask.range_us) == (camera, stream, None)
