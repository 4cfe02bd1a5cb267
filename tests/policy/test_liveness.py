"""Who is counted on."""

from __future__ import annotations

from soip.policy.liveness import ALIVE_US, LATELY_US, alive, media_state, worth_trying


def test_a_worker_lives_as_long_as_its_heart_beats() -> None:
    assert alive(100, 100 + ALIVE_US)
    assert not alive(100, 101 + ALIVE_US)
    assert alive(200, 100), "clocks of two machines differ a little"


def test_what_is_known_without_a_worker() -> None:
    assert media_state("recording", online=False) == "recording"
    assert media_state(None, online=True) == "idle"
    assert media_state(None, online=False) == "offline"


def test_who_lives_is_worth_trying() -> None:
    now = 10 * LATELY_US
    assert worth_trying({"m-0": now, "m-1": now - ALIVE_US - 1}, now) == {"m-0"}
    assert worth_trying({}, now) == set()


def test_while_nobody_is_heard_of_those_of_before_are_worth_trying() -> None:
    """The directory may take no heartbeats."""
    last = 10 * LATELY_US
    heartbeats = {"m-0": last, "m-1": last - ALIVE_US, "gone": last - ALIVE_US - 1, "never": 0}
    assert worth_trying(heartbeats, last + ALIVE_US + 1) == {"m-0", "m-1"}
    assert worth_trying(heartbeats, last + LATELY_US) == {"m-0", "m-1"}
    assert worth_trying(heartbeats, last + LATELY_US + 1) == set(), "not for ever: an address may have a new owner"
