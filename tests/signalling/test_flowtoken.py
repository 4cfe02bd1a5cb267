"""Flow tokens: what we wrote is read back, what anybody else wrote or changed is not."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.signalling import flowtoken
from soip.signalling.flows import TRANSPORTS, FlowKey, InstanceFlow, TrunkFlow, Way, parse_way
from soip.signalling.flowtoken import End, Path

KEY = b"k" * 32

WAYS: st.SearchStrategy[Way] = st.one_of(
    st.builds(
        FlowKey,
        st.sampled_from(sorted(TRANSPORTS)),
        st.ip_addresses().map(str),
        st.integers(0, 65535),
        st.integers(0, 10**12),
    ),
    st.builds(InstanceFlow, st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)),
    st.builds(TrunkFlow, st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)),
)


IDS = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)


@given(st.builds(End, WAYS, IDS), st.builds(End, WAYS, IDS))
def test_a_token_reads_back_as_its_path(caller: End, callee: End) -> None:
    token = flowtoken.issue(KEY, Path(caller, callee))
    assert re.fullmatch(r"[A-Za-z0-9_-]+", token)
    assert flowtoken.read(KEY, token) == Path(caller, callee)
    assert flowtoken.read(b"x" * 32, token) is None


@given(WAYS)
def test_a_way_reads_back(way: Way) -> None:
    assert parse_way(str(way)) == way


@given(st.integers(0, 60), st.characters(codec="ascii"))
def test_a_changed_token_is_refused(at: int, letter: str) -> None:
    path = Path(End(FlowKey("udp", "10.0.0.1", 5060), "ann"), End(InstanceFlow("media-0"), "cam1"))
    token = flowtoken.issue(KEY, path)
    changed = token[:at] + letter + token[at + 1 :]
    assert flowtoken.read(KEY, changed) in (None, path)


@given(st.text(max_size=600))
def test_noise_is_refused(noise: str) -> None:
    assert flowtoken.read(KEY, noise) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "udp",
        "udp:1.2.3.4",
        "sctp:1.2.3.4:5",
        "udp:1.2.3.4:70000",
        "tcp:1.2.3.4:5#x",
        "udp:host:5",
        "instance:",
        "route:",
    ],
)
def test_what_is_no_way_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a flow|does not appear"):
        parse_way(text)


def test_only_datagram_flows_outlive_a_restart() -> None:
    assert FlowKey("udp", "::1", 5060).datagram
    assert not FlowKey("tcp", "::1", 5060, 3).datagram
    assert str(FlowKey("tcp", "::1", 5060, 3)) == "tcp:[::1]:5060#3"
