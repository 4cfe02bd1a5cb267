"""What the darkroom makes of keyframes."""

from __future__ import annotations

import io
from fractions import Fraction
from functools import cache

import av
import pytest
from av.container import InputContainer
from hypothesis import given
from hypothesis import strategies as st

from soip.media import darkroom
from soip.media.darkroom import ANSWER, ENCODINGS, FORMATS, ORDER, decode, encode, fit
from soip.media.snapshots import Form
from soip.rtp.nal import length_prefixed
from tests.mp4.material import video


@cache
def keyframe() -> bytes:
    return length_prefixed(video(30).frames[0])


def order(number: int, form: Form, content: bytes | None = None) -> bytes:
    content = keyframe() if content is None else content
    return ORDER.pack(number, 0, form.width, form.height, FORMATS.index(form.kind), len(content)) + content


def size_of(picture: bytes) -> tuple[str, int, int]:
    with av.open(io.BytesIO(picture)) as container:
        stream = container.streams.video[0]
        return stream.codec_context.name, stream.codec_context.width, stream.codec_context.height


@given(st.integers(16, 8192), st.integers(16, 8192), st.integers(0, 8192), st.integers(0, 8192))
def test_a_picture_keeps_its_shape_and_its_bounds(width: int, height: int, most_width: int, most_height: int) -> None:
    wide, high = fit(width, height, None, most_width, most_height)
    assert wide % 2 == high % 2 == 0
    assert 2 <= wide <= max(2, min(width, most_width or width))
    assert 2 <= high <= max(2, min(height, most_height or height))
    if min(wide, high) > 200:
        assert wide / high == pytest.approx(width / height, rel=0.02)


def test_pixels_that_are_not_square_are_shown_as_they_look() -> None:
    assert fit(704, 576, Fraction(12, 11), 0, 0) == (768, 576)
    assert fit(704, 576, Fraction(12, 11), 384, 0) == (384, 288)


@pytest.mark.parametrize(("kind", "codec", "pixels"), [("jpg", "mjpeg", "gray"), ("bmp", "bmp", "bgr24")])
def test_a_keyframe_becomes_the_picture_it_shows(kind: str, codec: str, pixels: str) -> None:
    shown = decode(keyframe())
    picture = encode(shown, 0, 0, kind)
    assert size_of(picture) == (codec, shown.frame.width, shown.frame.height)
    with av.open(io.BytesIO(picture)) as container:
        assert isinstance(container, InputContainer)
        again = next(container.decode(video=0)).reformat(format=pixels)
    ours, theirs = bytes(again.planes[0]), bytes(shown.frame.reformat(format=pixels).planes[0])
    assert sum(abs(one - other) for one, other in zip(ours, theirs, strict=True)) / len(ours) < 12


def test_orders_are_answered_in_turn_and_what_cannot_be_decoded_is_told() -> None:
    forms = [Form("jpg", 64), Form("bmp", 0, 40), Form("jpg")]
    orders = b"".join(order(1, form) for form in forms[:2]) + order(2, forms[2], b"\0\0\0\4junk") + order(1, forms[2])
    answers = io.BytesIO()
    darkroom.serve(io.BytesIO(orders + order(2, forms[0])[:-9]), answers)
    answers.seek(0)
    got = []
    while head := answers.read(ANSWER.size):
        worked, size = ANSWER.unpack(head)
        got.append((worked, answers.read(size)))
    assert [worked for worked, _ in got] == [True, True, False, True]
    assert size_of(got[0][1])[:2] == ("mjpeg", 64)
    assert size_of(got[1][1])[2] == 40
    assert got[2][1]


def test_a_keyframe_of_h265_becomes_a_picture_too() -> None:
    content = length_prefixed(video(2, encoding="H265").frames[0])
    head = ORDER.pack(1, ENCODINGS.index("H265"), 160, 0, FORMATS.index("jpg"), len(content))
    answers = io.BytesIO()
    darkroom.serve(io.BytesIO(head + content), answers)
    worked, size = ANSWER.unpack_from(answers.getvalue())
    assert worked, answers.getvalue()
    assert size_of(answers.getvalue()[ANSWER.size : ANSWER.size + size]) == ("mjpeg", 160, 120)


def test_a_keyframe_is_decoded_once_for_all_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []

    def noted(content: bytes, encoding: str) -> darkroom.Decoded:
        decoded.append(len(content))
        return decode(content, encoding)

    monkeypatch.setattr(darkroom, "decode", noted)
    darkroom.serve(io.BytesIO(b"".join(order(7, Form("jpg", 32 + size)) for size in range(10))), io.BytesIO())
    assert len(decoded) == 1
    darkroom.serve(io.BytesIO(b"".join(order(number % 9, Form("bmp")) for number in range(18))), io.BytesIO())
    assert len(decoded) == 19, "memory is bounded: the ninth is not kept"
