"""Who is counted on."""

from __future__ import annotations

from soip.policy.liveness import ALIVE_US, alive, media_state


def test_a_worker_lives_as_long_as_its_heart_beats() -> None:
    assert alive(100, 100 + ALIVE_US)
    assert not alive(100, 101 + ALIVE_US)
    assert alive(200, 100), "clocks of two machines differ a little"


def test_what_is_known_without_a_worker() -> None:
    assert media_state("recording", online=False) == "recording"
    assert media_state(None, online=True) == "idle"
    assert media_state(None, online=False) == "offline"
