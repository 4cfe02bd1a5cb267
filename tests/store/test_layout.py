"""Paths and turns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.store.errors import BadNameError
from soip.store.layout import camera_of, day_folder, file_path, is_file_path, parse_timestamp, timestamp, turn_us

cameras = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}", fullmatch=True)
times = st.integers(0, 4_000_000_000_000_000)


@given(cameras, times, st.integers(1, 999))
def test_a_path_names_its_camera(camera: str, start_us: int, number: int) -> None:
    path = file_path(camera, start_us, number)
    assert camera_of(path) == camera
    assert path.startswith(f"{camera}/")
    assert path.split("/")[1:4] == timestamp(start_us)[:10].split("-")


@pytest.mark.parametrize("camera", ["", ".", "..", ".hidden", "a/b", "a b", "ü", "a" * 65, "a\n", "../x"])
def test_no_folder_for_what_is_no_id(camera: str) -> None:
    with pytest.raises(BadNameError):
        day_folder(camera, 0)


@pytest.mark.parametrize(
    "path",
    ["", "cam1.mp4", "../2026/11/20/114552.mp4", "/cam1/2026/11/20/114552.mp4", "cam1/2026/11/20/114552.mp4\n",
     "cam1/2026/11/20/journal.jsonl", "cam1/2026/11/114552.mp4", "cam1/../11/20/114552.mp4",
     ".a/2026/11/20/114552.mp4"],
)  # fmt: skip
def test_what_is_no_recordings_path(path: str) -> None:
    assert not is_file_path(path)
    with pytest.raises(BadNameError):
        camera_of(path)


@given(times)
def test_timestamps_are_exact(utc_us: int) -> None:
    assert parse_timestamp(timestamp(utc_us)) == utc_us


def test_a_time_without_its_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="offset"):
        parse_timestamp("2026-11-20T10:00:00")
    with pytest.raises(BadNameError):
        timestamp(1 << 62)


@given(cameras, times, st.floats(1, 3600))
def test_turns_come_in_time_and_on_the_cameras_own_beat(camera: str, start_us: int, seconds: float) -> None:
    length = round(seconds * 1e6)
    turn = turn_us(camera, start_us, seconds)
    assert length // 10 < turn - start_us <= length + length // 10
    assert turn_us(camera, turn, seconds) == turn + length


def test_cameras_turn_at_different_times() -> None:
    turns = {turn_us(f"cam{n}", 1_795_175_152_000_000, 600) // 1_000_000 for n in range(200)}
    assert len(turns) > 150
