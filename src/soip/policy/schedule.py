"""Whether a plan asks for a recording at a moment.

This version knows the plans "always" and "never". The moment is already part of the question, so that plans
by time of day fit in without a change at the callers.
"""

from __future__ import annotations

from enum import StrEnum


class Plan(StrEnum):
    """The plans a camera can have."""

    ALWAYS = "always"
    NEVER = "never"


def recording_wanted(plan: str, now_us: int) -> bool:
    """True when a camera with this plan is to be recorded at `now_us` (µs UTC).

    A plan this version does not know records: a missing recording cannot be made up for later, a superfluous
    one can be deleted.
    """
    return plan != Plan.NEVER
