"""What a media worker tells at `/metrics` (docs/metrics.md): of each camera, of all together, and of its disks.

All is read at the scrape from what the rooms have counted. First the numbers of all cameras are copied, so that they
fit each other; then they are written family by family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from soip.media.archive import Archive
from soip.media.camera import Camera
from soip.media.cameras import Cameras
from soip.media.context import Context
from soip.media.showing import Showing
from soip.media.snapshots import Snapshots
from soip.media.tally import Tally
from soip.metrics import PROCESS, Family, Figures, Sample, Spread, of_process
from soip.store.disk import BOUNDS

STATES = ("recording", "live", "no-media", "offline", "idle")

Parts = Callable[[Tally], Sequence[tuple[tuple[str, ...], float]]]
"""What of a tally belongs to a family: the values of its last label, if it has one, and the figures."""


@dataclass(frozen=True, slots=True)
class _Counted:
    """A counter that each camera has, and the worker for all of them together, those that have left as well."""

    camera: Family
    worker: Family
    parts: Parts


def _counted(name: str, text: str, parts: Parts, *labels: str) -> _Counted:
    return _Counted(
        Family(f"soip_media_{name}", "counter", f"{text}, by camera.", ("worker", "camera", *labels)),
        Family(f"soip_worker_{name}", "counter", f"{text}, of all cameras.", ("worker", *labels)),
        parts,
    )


def _one(figure: Callable[[Tally], float]) -> Parts:
    return lambda tally: [((), figure(tally))]


def _losses(tally: Tally) -> list[tuple[tuple[str, ...], float]]:
    causes = {
        "lost": tally.lost,
        "late": tally.late,
        "foreign": tally.foreign,
        "malformed": tally.malformed,
        "kernel": tally.kernel,
    }
    return [((cause,), count) for cause, count in causes.items()]


_COUNTED = (
    _counted("packets_received", "RTP packets taken from cameras", _one(lambda t: t.packets)),
    _counted("packets_dropped", "RTP packets that did not come or were not taken", _losses, "cause"),
    _counted("packets_asked", "Packets that cameras were asked for again", _one(lambda t: t.asked)),
    _counted("packets_answered", "Packets that came since they were asked for again", _one(lambda t: t.answered)),
    _counted(
        "packets_resent",
        "Packets that viewers asked for again",
        lambda t: [(("sent",), t.resent), (("refused",), t.resend_refused)],
        "result",
    ),
    _counted("pictures", "Pictures received", _one(lambda t: t.pictures)),
    _counted("keyframes", "Keyframes received", _one(lambda t: t.keyframes)),
    _counted("received_bytes", "Bytes of pictures received", _one(lambda t: t.received)),
    _counted("sent_bytes", "Bytes of live pictures sent to viewers", _one(lambda t: t.sent)),
    _counted(
        "frames_dropped",
        "Live pictures that viewers were not sent because they would have come too late",
        lambda t: [(("rtp",), t.unshown_rtp), (("browser",), t.unshown_browser)],
        "way",
    ),
    _counted("fragments_written", "Fragments written to recordings", _one(lambda t: t.fragments)),
    _counted("fragments_refused", "Fragments that the disk's queue did not take", _one(lambda t: t.refused)),
    _counted("write_seconds", "Time that writing fragments took", _one(lambda t: t.write_seconds)),
    _counted("write_wait_seconds", "Time that fragments waited to be written", _one(lambda t: t.wait_seconds)),
)

_BY_CAMERA = ("worker", "camera")
STATE = Family("soip_media_camera_state", "gauge", "1 for the state a camera's media is in.", (*_BY_CAMERA, "state"))
VIEWERS = Family("soip_media_viewers", "gauge", "Viewers of live pictures.", (*_BY_CAMERA, "way"))
BACKLOG = Family("soip_media_backlog_bytes", "gauge", "Live pictures that wait for viewers.", (*_BY_CAMERA, "way"))
NEWEST = Family(
    "soip_media_last_picture_timestamp_seconds", "gauge", "When the newest picture came, UNIX time.", _BY_CAMERA
)
JITTER = Family("soip_media_jitter_seconds", "gauge", "Interarrival jitter of pictures (RFC 3550).", _BY_CAMERA)

_BY_WORKER = ("worker",)
CAMERAS = Family("soip_worker_cameras", "gauge", "Cameras that are the worker's.", _BY_WORKER)
CALLS = Family("soip_worker_calls", "gauge", "Calls: to cameras, and of viewers.", ("worker", "kind"))
RECORDING = Family("soip_worker_recordings_open", "gauge", "Recordings that are being written.", _BY_WORKER)
LEASED = Family("soip_worker_leased", "gauge", "Whether the worker may call and record cameras.", _BY_WORKER)
GROUPS = Family("soip_worker_multicast_groups", "gauge", "Multicast groups of the worker.", ("worker", "state"))
SNAPSHOTS = Family("soip_worker_snapshots", "counter", "Still pictures asked for.", ("worker", "result"))

_BY_DISK = ("worker", "disk")
QUEUE = Family("soip_disk_queue_bytes", "gauge", "What waits to be written.", _BY_DISK)
LIMIT = Family("soip_disk_queue_limit_bytes", "gauge", "What may wait at most.", _BY_DISK)
WRITTEN = Family("soip_disk_written_bytes", "counter", "Bytes written to recordings.", _BY_DISK)
REFUSED = Family("soip_disk_fragments_refused", "counter", "Fragments the queue had no room for.", _BY_DISK)
WRITE = Family("soip_disk_write_seconds", "histogram", "How long the write of a fragment took.", _BY_DISK)
SYNC = Family("soip_disk_sync_seconds", "histogram", "How long the sync of a file took.", _BY_DISK)
FREE = Family("soip_disk_free_bytes", "gauge", "Room on the disk, as it last answered.", _BY_DISK)
SIZE = Family("soip_disk_size_bytes", "gauge", "Size of the disk.", _BY_DISK)
ACCEPTING = Family("soip_disk_accepting", "gauge", "Whether the disk is there, answers and has room.", _BY_DISK)

FAMILIES = (
    *(each.camera for each in _COUNTED),
    *(each.worker for each in _COUNTED),
    *(STATE, VIEWERS, BACKLOG, NEWEST, JITTER, CAMERAS, CALLS, RECORDING, LEASED, GROUPS, SNAPSHOTS),
    *(QUEUE, LIMIT, WRITTEN, REFUSED, WRITE, SYNC, FREE, SIZE, ACCEPTING),
    *PROCESS,
)


@dataclass(frozen=True, slots=True)
class _Look:
    """A camera at the moment of the scrape. `newest_s` is 0 when there was no picture yet."""

    id: str
    tally: Tally
    media: str
    rtp: int
    multicast: int
    browsers: int
    backlog: int
    queued: int
    newest_s: float
    jitter_s: float


class Metrics:
    """The figures of one worker."""

    def __init__(
        self, context: Context, cameras: Cameras, archive: Archive, showing: Showing, snapshots: Snapshots
    ) -> None:
        self._context = context
        self._cameras = cameras
        self._archive = archive
        self._showing = showing
        self._snapshots = snapshots

    def figures(self) -> Figures:
        """All families with their samples; the numbers are those of now."""
        looks = [self._look(camera) for camera in self._cameras.all.values()]
        total = replace(self._cameras.gone)
        for look in looks:
            total.add(look.tally)
        return self._families(looks, total)

    def _look(self, camera: Camera) -> _Look:
        newest_s = jitter_s = 0.0
        call = camera.call
        if call is not None:
            receiver = call.video.intake.receiver
            jitter_s = receiver.jitter / receiver.clock_rate
            if call.intake.last_arrival is not None:
                newest_s = self._context.wall.utc_us(call.intake.last_arrival) / 1e6
        viewers = [viewer for stream in camera.both for viewer in stream.relay.viewers]
        watched = [self._showing.channels.watched(stream) for stream in camera.both]
        groups, watchers = (sum(counts) for counts in zip(*watched, strict=True))
        backlog = sum(viewer.backlog_bytes for viewer in viewers)
        return _Look(
            camera.row.id,
            camera.tally(),
            camera.media,
            len(viewers) - groups,
            watchers,
            sum(len(stream.feed) for stream in camera.both),
            backlog,
            sum(stream.feed.queued_bytes for stream in camera.both),
            newest_s,
            jitter_s,
        )

    def _families(self, looks: list[_Look], total: Tally) -> Iterator[tuple[Family, list[Sample]]]:
        me = self._context.instance
        for each in _COUNTED:
            yield (
                each.camera,
                [((me, look.id, *label), figure) for look in looks for label, figure in each.parts(look.tally)],
            )
            yield each.worker, [((me, *label), figure) for label, figure in each.parts(total)]
        yield STATE, [((me, look.id, state), float(look.media == state)) for look in looks for state in STATES]
        yield VIEWERS, _ways(me, looks, lambda look: (look.rtp, look.browsers, look.multicast))
        yield BACKLOG, _ways(me, looks, lambda look: (look.backlog, look.queued))
        yield NEWEST, [((me, look.id), look.newest_s) for look in looks if look.newest_s]
        yield JITTER, [((me, look.id), look.jitter_s) for look in looks]
        yield from self._of_worker()
        yield from self._of_disks()
        yield from of_process(me)

    def _of_worker(self) -> Iterator[tuple[Family, list[Sample]]]:
        me, cameras = self._context.instance, self._cameras.all.values()
        live, playback = self._showing.calls
        up = sum(stream.call is not None for camera in cameras for stream in camera.both)
        calls = {"camera": up, "live": live, "playback": playback}
        yield CAMERAS, [((me,), len(cameras))]
        yield CALLS, [((me, kind), count) for kind, count in calls.items()]
        yield RECORDING, [((me,), sum(camera.recorder.running for camera in cameras))]
        yield LEASED, [((me,), float(self._cameras.leased))]
        yield GROUPS, [((me, "used"), self._context.groups.in_use), ((me, "free"), self._context.groups.free)]
        yield SNAPSHOTS, [((me, "taken"), self._snapshots.taken), ((me, "failed"), self._snapshots.failed)]

    def _of_disks(self) -> Iterator[tuple[Family, list[Sample]]]:
        me = self._context.instance
        disks = [((me, disk.path), disk.place.disk) for disk in self._archive.disks.all]
        space = self._archive.space().disks
        yield QUEUE, [(labels, disk.queued_bytes) for labels, disk in disks]
        yield LIMIT, [(labels, disk.limit_bytes) for labels, disk in disks]
        yield WRITTEN, [(labels, disk.stats.bytes) for labels, disk in disks]
        yield REFUSED, [(labels, disk.stats.refused) for labels, disk in disks]
        stats = [(labels, disk.stats) for labels, disk in disks]
        yield WRITE, [(labels, Spread(BOUNDS, each.write_times, each.seconds)) for labels, each in stats]
        yield SYNC, [(labels, Spread(BOUNDS, each.sync_times, each.sync_seconds)) for labels, each in stats]
        yield FREE, [((me, path), free) for path, _, free, _ in space]
        yield SIZE, [((me, path), total) for path, _, _, total in space]
        yield ACCEPTING, [((me, path), float(state == "ready")) for path, state, _, _ in space]


def _ways(me: str, looks: list[_Look], figures: Callable[[_Look], tuple[int, ...]]) -> list[Sample]:
    return [
        ((me, look.id, way), figure)
        for look in looks
        for way, figure in zip(("rtp", "browser", "multicast"), figures(look), strict=False)
    ]
