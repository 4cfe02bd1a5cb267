"""What callers ask for, in the address or in SDP."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.media.request import LONGEST_S, RequestError, parse_clock, wanted
from soip.policy.access import Permission
from soip.sip.errors import SipError
from soip.sip.sdp import SessionDescription

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
