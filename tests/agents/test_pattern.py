"""The test pattern: what is painted, what changes, and that the incremental picture equals a fresh one."""

import itertools

import pytest

from soip.agents import blockcode, font
from soip.agents.errors import PatternError
from soip.agents.pattern import PAPER, Pattern, Planes

NOW = 1_795_175_634_123  # 2026-11-20T11:53:54.123Z


def blank(width: int = 640, height: int = 360, padding: int = 0) -> Planes:
    strides = [width + padding, width // 2 + padding, width // 2 + padding]
    heights = [height, height // 2, height // 2]
    planes = [memoryview(bytearray(stride * lines)) for stride, lines in zip(strides, heights, strict=True)]
    return Planes(width, height, planes, strides)


def test_updating_equals_painting_anew() -> None:
    planes = blank()
    pattern = Pattern("cam1", planes, 25)
    for number in range(0, 400, 7):
        pattern.update(number, NOW + 40 * number)
        fresh = blank()
        Pattern("cam1", fresh, 25).update(number, NOW + 40 * number)
        assert planes.luma == fresh.luma
        assert planes.cb == fresh.cb
        assert planes.cr == fresh.cr


def test_consecutive_frames_differ_but_little() -> None:
    planes = blank()
    pattern = Pattern("cam1", planes, 25)
    pattern.update(0, NOW)
    before = bytes(planes.luma)
    for number in range(1, 15):
        pattern.update(number, NOW + 40 * number)
        after = bytes(planes.luma)
        different = sum(a != b for a, b in zip(before, after, strict=True))
        assert 0 < different < 640 * 360 * 0.1
        before = after


def test_cameras_look_and_stamp_differently() -> None:
    pictures = set()
    for camera in ("cam1", "cam2", "Front-Door_01.gate", "x" * 64):
        planes = blank()
        Pattern(camera, planes, 25).update(5, NOW)
        stamp = blockcode.read(planes.luma, planes.stride, 640, 360)
        assert stamp == blockcode.Stamp(5, NOW, blockcode.camera_hash(camera))
        pictures.add(bytes(planes.luma))
    assert len(pictures) == 4


@pytest.mark.parametrize(("width", "height"), [(320, 240), (352, 288), (640, 480), (1280, 720), (1920, 1080)])
@pytest.mark.parametrize("padding", [0, 32])
def test_other_sizes_stay_inside_their_planes(width: int, height: int, padding: int) -> None:
    planes = blank(width, height, padding)
    pattern = Pattern("a-camera-with-quite-a-long-name", planes, 30)
    for number in range(0, 240, 13):
        pattern.update(number, NOW + 33 * number)
    assert len(planes.luma) == (width + padding) * height
    assert blockcode.read(planes.luma, planes.stride, width, height) is not None
    if padding:
        for line in range(height):
            assert not any(planes.luma[line * planes.stride + width : (line + 1) * planes.stride])


@pytest.mark.parametrize(("width", "height"), [(641, 360), (640, 361), (640, 100), (160, 120)])
def test_sizes_that_do_not_fit_are_refused(width: int, height: int) -> None:
    with pytest.raises(PatternError):
        Pattern("cam1", blank(width, height), 25)


def test_the_clock_shows_utc() -> None:
    """Read the clock back from its dots, with the font the other way round."""
    planes = blank()
    Pattern("cam1", planes, 25).update(0, NOW)
    scale = font.fitting_scale("00:00:00", 640 - 64, 64)
    left = (640 - font.width_of("00:00:00", scale)) // 2
    names = {glyph: name for name, glyph in font.GLYPHS.items()}
    text = ""
    for index in range(8):
        rows = []
        for row, column in itertools.product(range(font.HEIGHT), [0]):
            start = (112 + row * scale + 1) * planes.stride + left + index * font.ADVANCE * scale
            dots = [planes.luma[start + (column + dot) * scale + 1] != PAPER for dot in range(font.WIDTH)]
            rows.append(sum(dot << (font.WIDTH - 1 - place) for place, dot in enumerate(dots)))
        text += names.get(tuple(rows), "?")
    assert text == "11:53:54"


def test_every_character_of_an_id_has_a_glyph_of_its_own() -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
    assert set(letters) <= set(font.GLYPHS)
    assert len(set(font.GLYPHS.values())) == len(font.GLYPHS)
    assert all(len(glyph) == font.HEIGHT and max(glyph) < 32 for glyph in font.GLYPHS.values())


def test_glyph_lines_are_scaled_dots() -> None:
    lines = list(font.lines("1", 3, 200, 10))
    assert len(lines) == 21
    assert all(len(line) == 18 for line in lines)
    assert lines[0] == b"\x0a" * 6 + b"\xc8" * 3 + b"\x0a" * 9  # 04 = the middle dot
    assert next(iter(font.lines("?", 1, 1, 0))) == b"\1\1\1\1\1\0"  # unknown characters are a box


@pytest.mark.parametrize(("text", "scale"), [("", 1), ("a", 4), ("cam1", 3)])
def test_widths(text: str, scale: int) -> None:
    assert font.width_of(text, scale) == (max(0, 6 * len(text) - 1)) * scale
    assert font.width_of(text, font.fitting_scale(text, 200, 70)) <= 200
