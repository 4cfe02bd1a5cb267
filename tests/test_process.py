"""What a role sets up for itself before it begins."""

from __future__ import annotations

import gc

from soip.process import calm_collector


def test_cycles_are_looked_for_seldom_but_looked_for() -> None:
    before = gc.get_threshold()
    try:
        calm_collector()
        assert all(now >= then for now, then in zip(gc.get_threshold(), before, strict=True))
        assert gc.get_threshold() != before
        assert gc.isenabled()
    finally:
        gc.set_threshold(*before)
