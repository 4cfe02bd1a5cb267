from __future__ import annotations

import socket

import pytest

from soip.net.ports import QUARANTINE, PortPairs, PortsExhaustedError
from soip.net.rtp import open_pair


def test_pairs_are_even_with_the_odd_one_above_in_range() -> None:
    ports = PortPairs(20_001, 20_007)
    assert [ports.take(0.0) for _ in range(2)] == [20_002, 20_004]
    assert ports.take(0.0) == 20_006
    with pytest.raises(PortsExhaustedError, match="20001-20007"):
        ports.take(0.0)
    assert ports.in_use == 3


def test_a_released_pair_waits_out_its_quarantine() -> None:
    ports = PortPairs(20_000, 20_001)
    assert ports.take(0.0) == 20_000
    ports.release(20_000, 5.0)
    with pytest.raises(PortsExhaustedError):
        ports.take(5.0 + QUARANTINE - 0.1)
    assert ports.take(5.0 + QUARANTINE) == 20_000


def test_the_longest_free_pair_comes_first() -> None:
    ports = PortPairs(20_000, 20_005, quarantine=1)
    first = ports.take(0.0)
    ports.release(first, 0.0)
    assert [ports.take(10.0) for _ in range(3)] == [20_002, 20_004, first]


@pytest.mark.parametrize(("start", "order"), [(0.0, [40_000, 40_002, 40_004]), (0.5, [40_002, 40_004, 40_000])])
def test_who_comes_back_may_begin_elsewhere_in_the_range(start: float, order: list[int]) -> None:
    ports = PortPairs(40_000, 40_005, start=start)
    assert [ports.take(0.0) for _ in range(3)] == order


def test_releasing_twice_or_what_was_not_taken_does_nothing() -> None:
    ports = PortPairs(20_000, 20_003, quarantine=0)
    port = ports.take(0.0)
    ports.release(port, 0.0)
    ports.release(port, 0.0)
    ports.release(9, 0.0)
    assert sorted([ports.take(0.0), ports.take(0.0)]) == [20_000, 20_002]
    with pytest.raises(PortsExhaustedError):
        ports.take(0.0)


def test_ports_of_journalled_dialogs_stay_out_of_use() -> None:
    ports = PortPairs(20_000, 20_003)
    ports.reserve(20_001)
    assert ports.take(0.0) == 20_002
    with pytest.raises(PortsExhaustedError):
        ports.take(0.0)
    ports.unreserve(20_000)
    assert ports.take(0.0) == 20_000


@pytest.mark.parametrize(("low", "high"), [(20_000, 20_000), (20_001, 20_002), (65_535, 65_535), (0, 10)])
def test_a_range_without_a_pair_is_refused(low: int, high: int) -> None:
    with pytest.raises(ValueError, match="no port pair"):
        PortPairs(low, high)


def test_ports_others_hold_are_passed_over() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 35_003))  # only the RTCP port of the second pair
        ports = PortPairs(35_002, 35_005)
        pair = open_pair(ports, "127.0.0.1", lambda: 0.0)
        assert pair.port == 35_004
        with pytest.raises(PortsExhaustedError):
            open_pair(ports, "127.0.0.1", lambda: 0.0)
        pair.close()


def test_when_others_hold_all_it_is_said() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 35_010))
        with pytest.raises(PortsExhaustedError):
            open_pair(PortPairs(35_010, 35_011, quarantine=0), "127.0.0.1", lambda: 0.0)


def test_a_wrong_address_is_the_systems_error() -> None:
    ports = PortPairs(35_020, 35_021, quarantine=0)
    with pytest.raises(OSError, match="assign"):
        open_pair(ports, "192.0.2.1", lambda: 0.0)
    assert ports.in_use == 0
