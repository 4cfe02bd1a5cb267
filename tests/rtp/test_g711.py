from __future__ import annotations

from array import array
from io import BytesIO

import av
import pytest

from soip.rtp.g711 import PCMA, PCMU, decode, encode

ALL_CODES = bytes(range(256))
ALL_SAMPLES = array("h", range(-32_768, 32_768)).tobytes()


def reference(name: str, codes: bytes) -> bytes:
    """Decode by FFmpeg."""
    with av.open(BytesIO(codes), "r", format=name, options={"sample_rate": "8000"}) as container:
        return b"".join(bytes(frame.planes[0])[: 2 * frame.samples] for frame in container.decode(audio=0))


@pytest.mark.parametrize(("payload_type", "name"), [(PCMU, "mulaw"), (PCMA, "alaw")])
def test_decoding_equals_ffmpeg(payload_type: int, name: str) -> None:
    assert decode(ALL_CODES, payload_type) == reference(name, ALL_CODES)


@pytest.mark.parametrize("payload_type", [PCMU, PCMA])
def test_every_code_survives_the_way_there_and_back(payload_type: int) -> None:
    values = array("h", decode(ALL_CODES, payload_type))
    again = array("h", decode(encode(values.tobytes(), payload_type), payload_type))
    assert again == values


@pytest.mark.parametrize("payload_type", [PCMU, PCMA])
def test_every_sample_gets_the_nearest_code(payload_type: int) -> None:
    values = sorted(array("h", decode(ALL_CODES, payload_type)))
    got = array("h", decode(encode(ALL_SAMPLES, payload_type), payload_type))
    for sample in range(-32_768, 32_768, 37):
        nearest = min(abs(sample - value) for value in values)
        assert abs(sample - got[sample + 32_768]) == nearest


def test_silence_and_odd_bytes() -> None:
    assert encode(bytes(8), PCMU) == b"\xff" * 4
    assert encode(bytes(8), PCMA) == b"\xd5" * 4 or encode(bytes(8), PCMA) == b"\x55" * 4
    assert encode(b"\x00\x00\x07", PCMU) == b"\xff"
    assert decode(b"", PCMA) == b""


def test_other_payload_types_are_the_callers_fault() -> None:
    with pytest.raises(KeyError):
        decode(b"\0", 9)
