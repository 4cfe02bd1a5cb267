"""NAL units out of packets: both forms, parameter sets where they belong, damage borne."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.agents.nalsplit import Splitter
from soip.rtp.h265 import H265
from tests.fuzz import agents_nalsplit, seeds

SPS, PPS, IDR, SLICE, AUD = b"\x67\x42\xe0\x1e\xab", b"\x68\xce\x38\x80", b"\x65\x88\x84", b"\x41\x9a\x02", b"\x09\xf0"
RECORD = (  # AVCDecoderConfigurationRecord (ISO/IEC 14496-15 §5.3.3.1): one SPS, one PPS
    b"\1" + SPS[1:4] + b"\xff\xe1" + len(SPS).to_bytes(2, "big") + SPS + b"\1" + len(PPS).to_bytes(2, "big") + PPS
)
H265_SETS, H265_IDR = (b"\x40\x01vps", b"\x42\x01sps", b"\x44\x01pps"), b"\x26\x01idr"
# Bytes that neither make start codes nor end in zero: what emulation prevention and the stop bit guarantee.
nals = st.lists(st.binary(min_size=1, max_size=40).map(lambda body: b"\x41" + body.replace(b"\0", b"\2") + b"\x80"))


def annex_b(units: list[bytes], code: bytes = b"\0\0\0\1") -> bytes:
    return b"".join(code + unit for unit in units)


def prefixed(units: list[bytes], size: int = 4) -> bytes:
    return b"".join(len(unit).to_bytes(size, "big") + unit for unit in units)


@given(nals, st.sampled_from([1, 2, 4]))
def test_units_come_out_of_either_form(units: list[bytes], size: int) -> None:
    record = RECORD[:4] + bytes([0xFC | size - 1]) + RECORD[5:]
    assert list(Splitter(record).split(prefixed(units, size), False)) == units
    for code in (b"\0\0\1", b"\0\0\0\1"):
        assert list(Splitter(annex_b([SPS, PPS])).split(annex_b(units, code), False)) == units


@pytest.mark.parametrize("extradata", [RECORD, annex_b([SPS, PPS])])
def test_sets_of_the_header_stand_before_each_idr(extradata: bytes) -> None:
    form = prefixed if extradata is RECORD else annex_b
    splitter = Splitter(extradata)
    assert splitter.parameter_sets == (SPS, PPS)
    assert splitter.split(form([IDR]), True) == (SPS, PPS, IDR)
    assert splitter.split(form([AUD, IDR]), True) == (AUD, SPS, PPS, IDR)
    assert splitter.split(form([SLICE]), False) == (SLICE,)


def test_sets_in_band_replace_those_of_the_header() -> None:
    splitter = Splitter(RECORD)
    other = SPS + b"\x01"
    assert splitter.split(prefixed([other, PPS, IDR]), True) == (other, PPS, IDR)
    assert splitter.split(prefixed([IDR]), True) == (other, PPS, IDR)


def test_h265_in_either_form() -> None:
    for width in (1, 2, 4):
        record = bytes([1]) + bytes(20) + bytes([0xFC | width - 1, len(H265_SETS)])
        for one in H265_SETS:
            record += bytes([0x80 | one[0] >> 1, 0, 1]) + len(one).to_bytes(2, "big") + one
        splitter = Splitter(record, H265)
        assert splitter.parameter_sets == H265_SETS
        assert splitter.split(prefixed([H265_IDR], width), True) == (*H265_SETS, H265_IDR)
        for cut in range(len(record)):
            Splitter(record[:cut], H265).split(prefixed([H265_IDR]), True)
    splitter = Splitter(annex_b([*H265_SETS]), H265)
    aud = b"\x46\x01\x50"
    assert splitter.split(annex_b([aud, H265_IDR]), True) == (aud, *H265_SETS, H265_IDR)
    assert splitter.split(annex_b([b"\x02\x01slice"]), False) == (b"\x02\x01slice",)


@pytest.mark.parametrize(
    "extradata", [b"", b"\1", b"\1\x42\0\x1e\xff", b"\1\x42\0\x1e\xff\xe3", RECORD[:9], RECORD[:-3]]
)
def test_a_cut_configuration_is_borne(extradata: bytes) -> None:
    Splitter(extradata).split(prefixed([IDR]), True)


def test_mutations_of_good_input() -> None:
    packets = [prefixed([AUD, SPS, PPS, IDR]), annex_b([SPS, PPS, IDR, SLICE])]
    seeds.run(agents_nalsplit.fuzz, [RECORD + packet for packet in packets] + packets)
