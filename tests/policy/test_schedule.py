"""Plans: always, never, and the safe side for what this version does not know."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from soip.policy.schedule import Plan, recording_wanted

TIMES = st.integers(min_value=0, max_value=1 << 55)


@given(TIMES)
def test_always_is_always_and_never_is_never(now_us: int) -> None:
    assert recording_wanted("always", now_us)
    assert recording_wanted(Plan.ALWAYS, now_us)
    assert not recording_wanted("never", now_us)
    assert not recording_wanted(Plan.NEVER, now_us)


@given(st.text().filter(lambda plan: plan != "never"), TIMES)
def test_a_plan_of_a_later_version_records(plan: str, now_us: int) -> None:
    assert recording_wanted(plan, now_us)
