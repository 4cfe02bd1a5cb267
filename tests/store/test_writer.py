"""Recording: what is appended is on the disk, in order, in whole fragments, and the caller never waits."""

from __future__ import annotations

import hashlib
import os
import struct
import threading
from pathlib import Path

import pytest

from soip.mp4.times import ntp_of, ticks_of
from soip.store.disk import BOUNDS, JOB_BYTES, LEAST_QUEUE, MOST_QUEUE, DiskWriter, default_queue_bytes
from soip.store.events import Opened, Sealed, WriteFailed, Written
from soip.store.reader import RecordingFile, play
from soip.store.rebuild import read_row
from soip.store.root import Root
from soip.store.writer import INDEX_RESERVE
from tests.mp4 import walker
from tests.mp4.material import EPOCH_US, Frame, run_of, video
from tests.store.recordings import SECOND_US, Camera, probe, settle


@pytest.mark.parametrize("bframes", [0, 2])
@pytest.mark.parametrize("sound", [False, True])
def test_a_recording_plays_and_follows_the_standard(camera: Camera, root: Root, bframes: int, sound: bool) -> None:
    camera.material, camera.sound = video(bframes=bframes), sound
    row = camera.record(6)
    place = root.absolute(row.path)
    movie = walker.read(place.read_bytes())
    assert movie.indexed is not None
    assert len(movie.indexed) == 6
    assert movie.duration == 6 * 90_000
    assert [ntp for ntp, _ in movie.utc] == [ntp_of(EPOCH_US + second * SECOND_US) for second in range(6)]
    shown = probe(place)
    assert (shown.errors, shown.start, shown.frames) == ("", 0.0, 150)
    assert shown.duration == pytest.approx(6.0, abs=0.0001), "sound begins on a sample"


def test_the_row_says_what_the_file_holds(camera: Camera, root: Root) -> None:
    row = camera.record(3)
    data = root.absolute(row.path).read_bytes()
    movie = walker.read(data)
    assert row.path == "cam1/2026/11/20/114552.mp4"
    assert (row.start_us, row.end_us) == (EPOCH_US, EPOCH_US + 3 * SECOND_US)
    assert (row.bytes, row.frames, row.codecs) == (len(data), 75, ("avc1.42C00D",))
    assert (row.camera, row.server, row.trigger, row.stream, row.sealed) == ("cam1", "m1", "plan", "main", True)
    first = next(node for node in movie.nodes if node.kind == "prft").offset
    assert row.sha256 == hashlib.sha256(data[first:]).hexdigest()


def test_events_tell_the_whole_story(camera: Camera) -> None:
    camera.record(3)
    kinds = [type(event) for event in camera.events]
    assert kinds == [Opened, Written, Written, Written, Sealed]
    written = [event for event in camera.events if isinstance(event, Written)]
    assert [event.recording.frames for event in written] == [25, 50, 75]
    assert all(event.seconds > 0 and event.waited >= 0 for event in written)
    stats = camera.disk.stats
    assert (stats.fragments, stats.refused) == (3, 0)
    assert stats.worst_seconds <= stats.seconds
    assert sum(stats.write_times) == 3
    assert len(stats.write_times) == len(BOUNDS) + 1


def test_times_go_on_across_files_in_the_head(camera: Camera, root: Root) -> None:
    rows = [camera.record(2, first) for first in (0, 2, 4)]
    starts = []
    for row in rows:
        with RecordingFile(root.absolute(row.path)) as file:
            starts.append(file.index.init.head.media_time)
        assert read_row(root, row.path, digest=True) == row
    assert starts == [ticks_of(EPOCH_US) + n * 180_000 for n in range(3)]
    assert rows[0].end_us == rows[1].start_us


def test_sound_that_reaches_over_the_start_is_skipped_by_an_edit(camera: Camera, root: Root) -> None:
    camera.sound = True
    writer = camera.begin()
    picture, sound = camera.runs(0)
    early = sound._replace(decode_time=sound.decode_time - 1600)  # 100 ms
    assert writer.append([picture, early], EPOCH_US)
    assert writer.append(camera.runs(1), EPOCH_US + SECOND_US)
    writer.seal()
    settle(camera.disk)
    sealed = camera.events[-1]
    assert isinstance(sealed, Sealed)
    place = root.absolute(sealed.recording.path)
    movie = walker.read(place.read_bytes())
    assert (movie.of(1)[0].dts, movie.skips[1]) == (0, 0)
    assert movie.of(2)[0].dts == 0
    assert movie.skips[2] == pytest.approx(1600, abs=1)
    assert sealed.recording.start_us == EPOCH_US
    sounds = [frame for frame in play([place], 0, EPOCH_US * 2) if frame.track.handler == "soun"]
    assert sounds[0].time == early.decode_time
    assert sounds[0].utc_us == pytest.approx(EPOCH_US - 100_000, abs=70)


def test_two_in_one_second_have_two_names(camera: Camera) -> None:
    paths = [camera.record(1).path for _ in range(3)]
    assert paths == [f"cam1/2026/11/20/114552{suffix}.mp4" for suffix in ("", "-2", "-3")]


def test_a_fragment_must_begin_with_pictures(camera: Camera) -> None:
    camera.sound = True
    writer = camera.begin()
    picture, sound = camera.runs(0)
    for runs in ([], [sound], [sound, picture], [picture, sound._replace(samples=[])]):
        with pytest.raises(ValueError, match="first track"):
            writer.append(runs, EPOCH_US)
    assert writer.append([picture], EPOCH_US)
    with pytest.raises(ValueError, match="before the start"):
        writer.append([picture._replace(decode_time=0)], EPOCH_US)
    writer.seal()
    assert not writer.append([picture], EPOCH_US)


def test_a_first_fragment_that_cannot_be_written_down_does_not_spoil_the_next(camera: Camera, root: Root) -> None:
    writer = camera.begin()
    (good,) = camera.runs(0)
    wild = good._replace(decode_time=good.decode_time - (1 << 40), samples=[good.samples[0]._replace(duration=1 << 40)])
    with pytest.raises(struct.error):
        writer.append([wild], EPOCH_US)
    assert writer.append([good], EPOCH_US)
    writer.seal()
    settle(camera.disk)
    sealed = camera.events[-1]
    assert isinstance(sealed, Sealed)
    assert sealed.recording.frames == 25
    assert probe(root.absolute(sealed.recording.path)).start == 0


def test_a_full_queue_refuses_and_does_not_wait(root: Root) -> None:
    disk = DiskWriter(root, queue_bytes=100_000)
    held, go = threading.Event(), threading.Event()
    disk.start()

    def stall() -> None:
        held.set()
        go.wait(20)

    disk.submit(stall, 0)
    assert held.wait(20)
    camera = Camera(disk)
    writer = camera.begin()
    big = [run_of(1, ticks_of(EPOCH_US), [Frame([bytes(40_000)], 3600)])]
    taken = [writer.append(big, EPOCH_US) for _ in range(4)]
    assert taken == [True, True, False, False]
    assert disk.queued_bytes <= 100_000
    go.set()
    settle(disk)
    assert disk.queued_bytes <= JOB_BYTES, "at most the job that told us"
    assert writer.append(big, EPOCH_US + SECOND_US)
    writer.seal()
    assert disk.close(20)
    sealed = camera.events[-1]
    assert isinstance(sealed, Sealed)
    assert sealed.recording.frames == 3
    assert disk.stats.refused == 2


def test_all_that_is_queued_counts(root: Root) -> None:
    """A camera that begins file after file queues fronts and sealings, which are no fragments."""
    disk = DiskWriter(root, queue_bytes=400_000)
    camera = Camera(disk)
    tiny = [run_of(1, ticks_of(EPOCH_US), [Frame([b"tiny"], 3600)])]
    for number in range(20):
        writer = camera.begin()
        assert writer.append(tiny, EPOCH_US)
        writer.seal()
        assert disk.queued_bytes >= (number + 1) * (INDEX_RESERVE + JOB_BYTES)
    for _ in range(100):
        disk.submit(lambda: None, 0)
    assert not camera.begin().append(tiny, EPOCH_US)
    disk.start()
    settle(disk)
    assert disk.close(20)
    assert disk.queued_bytes == 0
    assert sum(isinstance(event, Sealed) for event in camera.events) == 20


def test_a_refused_first_fragment_leaves_no_trace(root: Root) -> None:
    disk = DiskWriter(root, queue_bytes=10)
    camera = Camera(disk)
    writer = camera.begin()
    assert not writer.append(camera.runs(0), EPOCH_US)
    writer.seal()
    disk.start()
    assert disk.close(20)
    assert camera.events == []
    assert [name for name in os.listdir(root.path) if not name.startswith(".")] == ["soip-root.json"]


def test_files_are_synced_while_they_grow(camera: Camera) -> None:
    writer = camera.begin()
    assert writer.append(camera.runs(0), EPOCH_US)
    deadline = threading.Event()
    for _ in range(100):
        if camera.disk.stats.syncs:
            break
        deadline.wait(0.02)
    assert camera.disk.stats.syncs == 1
    assert camera.disk.stats.worst_sync_seconds > 0
    assert camera.disk.stats.sync_seconds == camera.disk.stats.worst_sync_seconds, "of one sync"
    assert sum(camera.disk.stats.sync_times) == 1
    writer.seal()


def test_a_root_that_went_away_is_not_written_to(camera: Camera, root: Root, tmp_path: Path) -> None:
    root.path.rename(tmp_path / "elsewhere")
    root.path.mkdir()
    writer = camera.begin()
    assert writer.append(camera.runs(0), EPOCH_US)
    settle(camera.disk)
    assert writer.failed
    assert not writer.append(camera.runs(1), EPOCH_US + SECOND_US)
    failure = camera.events[-1]
    assert isinstance(failure, WriteFailed)
    assert (failure.camera, failure.since_us) == ("cam1", EPOCH_US)
    assert "mount its disk" in failure.reason
    assert os.listdir(root.path) == []


def test_one_bad_job_does_not_stop_the_disk(camera: Camera, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("on purpose")

    camera.disk.submit(fail, 0)
    assert camera.record(1).frames == 25
    assert "a job of the disk writer failed" in caplog.text


def test_more_may_wait_for_a_disk_where_there_is_more_memory(root: Root) -> None:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert LEAST_QUEUE <= default_queue_bytes() <= MOST_QUEUE
    assert default_queue_bytes() <= max(memory // 32, LEAST_QUEUE)
    assert DiskWriter(root).limit_bytes == default_queue_bytes()
    assert DiskWriter(root, queue_bytes=5).limit_bytes == 5
