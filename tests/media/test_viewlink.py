"""What is concluded from a viewer's reports, in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.media.viewlink import DISTANT_S, LEAST_REPORTS, SILENT_REPORTS, SILENT_S, UNREACHABLE_S, ViewLink
from soip.policy.throttle import GIVE_UP_S, Share
from soip.rtp import rtcp

NTP = rtcp.us_to_ntp(1_795_168_800_000_000)


def ntp(seconds: float) -> int:
    return NTP + int(seconds * (1 << 32))


def report(loss: float = 0.0, *, sent_at: float = 0.0, held: float = 0.0) -> rtcp.ReportBlock:
    """A report that answers our sender report of `sent_at`, which the viewer held for a while."""
    last_sr = ntp(sent_at) >> 16 & 0xFFFFFFFF if sent_at else 0
    return rtcp.ReportBlock(7, int(loss * 256), 0, 0, 0, last_sr, int(held * 65_536))


class Desk:
    """A link to which 400 packets leave each second, all of which arrive."""

    def __init__(self) -> None:
        self.now = 100.0
        self.link = ViewLink(self.now)
        self.packets = self.refused = 0

    def pass_time(self, seconds: float, *, every: float = 0.0, closed: bool = False, sends: bool = True) -> str:
        """With a report every so many seconds; `closed`: the port is. Gives why the viewer is gone."""
        for second in range(1, round(seconds) + 1):
            self.now += 1
            self.packets += 400 * sends
            self.refused += 25 * (closed and sends)
            if every and second % every == 0:
                self.link.block(report(), ntp(self.now), self.now)
            self.link.sending(self.packets, self.refused, self.now)
            if why := self.link.gone(self.now):
                return why
        return ""


def test_who_never_reports_is_left_alone() -> None:
    assert Desk().pass_time(3600) == ""


def test_who_has_reported_and_falls_silent_is_gone_after_a_while() -> None:
    desk = Desk()
    assert desk.pass_time(60, every=5) == ""
    began = desk.now
    assert desk.pass_time(600) == f"no RTCP report for {SILENT_S:.0f} s"
    assert desk.now - began == pytest.approx(SILENT_S, abs=1)


def test_who_reports_seldom_is_given_longer() -> None:
    desk = Desk()
    assert desk.pass_time(120, every=30) == ""
    assert desk.pass_time(SILENT_REPORTS * 30 - 2) == ""
    assert desk.pass_time(5).startswith("no RTCP report")


def test_a_report_or_two_at_the_beginning_bind_nobody() -> None:
    desk = Desk()
    assert desk.pass_time(5 * (LEAST_REPORTS - 1), every=5) == ""
    assert desk.pass_time(3600) == ""


def test_while_nothing_is_sent_silence_says_nothing() -> None:
    desk = Desk()
    assert desk.pass_time(60, every=5) == ""
    assert desk.pass_time(3600, sends=False) == "", "the camera is away"
    assert desk.pass_time(SILENT_S - 2) == ""
    assert desk.pass_time(5) != ""


def test_a_port_that_stays_closed_ends_it() -> None:
    desk = Desk()
    assert desk.pass_time(UNREACHABLE_S - 1, closed=True) == ""
    assert desk.pass_time(1) == "", "it was opened late"
    assert desk.pass_time(UNREACHABLE_S - 1, closed=True) == ""
    assert "closed" in desk.pass_time(5, closed=True)


def test_the_round_trip_is_what_lies_between_report_and_answer_without_the_wait() -> None:
    link = ViewLink(0.0)
    assert (link.rtt, link.distant) == (0.0, False)
    link.block(report(sent_at=10.0, held=2.0), ntp(12.08), 12.08)
    assert link.rtt == pytest.approx(0.08, abs=0.001)
    assert link.distant
    link.block(report(sent_at=15.0, held=2.0), ntp(17.0 + DISTANT_S / 4), 17.0)
    assert not link.distant


@pytest.mark.parametrize("held", [5.0, 60_000.0])
def test_a_round_trip_that_cannot_be_is_not_believed(held: float) -> None:
    link = ViewLink(0.0)
    link.block(report(sent_at=10.0, held=held), ntp(12.0), 12.0)
    assert link.rtt == 0.0


def test_a_viewer_for_whom_even_keyframes_are_too_much_is_told_so() -> None:
    desk = Desk()
    while not (why := desk.link.gone(desk.now)):
        desk.now += 5
        desk.packets += 1
        desk.link.block(report(0.6), ntp(desk.now), desk.now)
        desk.link.sending(desk.packets, 0, desk.now)
        assert desk.now < 100 + 2 * GIVE_UP_S
    assert why == "too much is lost on the way to you"
    assert desk.link.share is Share.NOTHING


@given(
    st.lists(
        st.tuples(st.integers(0, 255), st.integers(0, 1 << 32), st.integers(0, (1 << 32) - 1), st.floats(0.01, 20)),
        max_size=100,
    )
)
def test_whatever_is_reported_the_round_trip_stays_in_bounds(blocks: list[tuple[int, int, int, float]]) -> None:
    link, now = ViewLink(0.0), 0.0
    for loss, last_sr, delay, wait in blocks:
        now += wait
        block = rtcp.ReportBlock(7, loss, -5, 0, 0, last_sr & 0xFFFFFFFF, delay)
        assert link.block(block, ntp(now), now) is link.share
        assert 0 <= link.rtt < 30
