from __future__ import annotations

import heapq

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.sip.timers import Timer, TimerHeap, Timers


@pytest.mark.parametrize(
    ("timer", "unreliable", "reliable"),
    [  # RFC 3261 table 4, RFC 6026 §7
        (Timer.A, 0.5, None),
        (Timer.B, 32, 32),
        (Timer.C, 185, 185),
        (Timer.D, 32, 0),
        (Timer.E, 0.5, None),
        (Timer.F, 32, 32),
        (Timer.G, 0.5, None),
        (Timer.H, 32, 32),
        (Timer.I, 5, 0),
        (Timer.J, 32, 0),
        (Timer.K, 5, 0),
        (Timer.L, 32, 32),
        (Timer.M, 32, 32),
        (Timer.TRYING, 0.2, 0.2),
        (Timer.CANCELLED, 32, 32),
    ],
)
def test_lengths(timer: Timer, unreliable: float, reliable: float | None) -> None:
    assert Timers().length(timer, False) == unreliable
    assert Timers().length(timer, True) == reliable


def test_timer_c_is_over_three_minutes() -> None:
    assert Timers().c > 180


def test_heap_gives_owners_in_order_of_deadline() -> None:
    heap: TimerHeap[str] = TimerHeap()
    for owner, at in (("b", 2.0), ("a", 1.0), ("c", 3.0)):
        heap.set(owner, at)
    heap.set("a", 2.5)
    heap.drop("c")
    heap.drop("nobody")
    assert heap.next() == 2.0
    assert heap.pop_due(1.9) is None
    assert [heap.pop_due(9.0), heap.pop_due(9.0), heap.pop_due(9.0)] == ["b", "a", None]
    assert heap.next() is None


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("set"), st.integers(0, 9), st.integers(0, 100)),
            st.tuples(st.just("drop"), st.integers(0, 9), st.just(0)),
            st.tuples(st.just("pop"), st.just(0), st.integers(0, 100)),
        ),
        max_size=300,
    )
)
def test_heap_does_what_a_dictionary_would(steps: list[tuple[str, int, int]]) -> None:
    heap: TimerHeap[int] = TimerHeap()
    model: dict[int, int] = {}
    for verb, owner, at in steps:
        if verb == "set":
            heap.set(owner, at)
            model[owner] = at
        elif verb == "drop":
            heap.drop(owner)
            model.pop(owner, None)
        else:
            popped = heap.pop_due(at)
            if popped is None:
                assert all(deadline > at for deadline in model.values())
            else:
                assert model[popped] == min(model.values())
                assert model.pop(popped) <= at
        assert heap.next() == min(model.values(), default=None)
        assert len(heap) == len(model)
        assert len(heap._heap) <= 2 * len(model) + 65
        assert heapq.nsmallest(1, heap._heap) == heap._heap[:1]
