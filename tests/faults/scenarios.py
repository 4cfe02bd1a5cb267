"""The scenarios of the fault harness. Each breaks one thing of a running site (`ground.py`) and says what must hold.

A scenario takes the ground, a source of chance and whether it may last as long as in earnest; it returns what it has
seen, in a few words, and fails by AssertionError. It leaves the site as it found it: whole, recording.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import pairwise

from tests.faults.ground import Ground
from tests.faults.watcher import open_live
from tests.interop.film import make_film
from tests.site import now_us, rfc3339, until

DOWN, DISK, EXPIRED, CLOCK = "media server down", "disk", "expired", "clock"
Run = Callable[[Ground, random.Random, bool], str]


@dataclass(frozen=True)
class Scenario:
    """`place`: which site it breaks (`campaign.PLACES`). `viewer`: who watches the other camera is asked how old the
    pictures were, and must not have noticed, or with `told` must. `rounds`: how often it is run in earnest, and
    `seconds` about how long once.
    """

    name: str
    run: Run
    place: str = "site"
    viewer: bool = False
    told: bool = False
    rounds: int = 1
    seconds: float = 40

    @property
    def says(self) -> str:
        """The first line of its docstring."""
        return (self.run.__doc__ or "").strip().splitlines()[0]


ALL: dict[str, Scenario] = {}


def scenario(
    place: str = "site", *, viewer: bool = False, told: bool = False, rounds: int = 1, seconds: float = 40
) -> Callable[[Run], Run]:
    def register(run: Run) -> Run:
        name = run.__name__.replace("_", "-")
        ALL[name] = Scenario(name, run, place, viewer, told, rounds, seconds)
        return run

    return register


ROUNDING_US = 1000
"""By which two files may seem to overlap: the camera's clock is followed all the time."""
LOST_US = 4_500_000
"""A fragment, and what may wait for the disk or for the process on a busy machine."""
AGAIN = 0.25
"""How often what was killed is killed once more while it comes back: what mends after a crash may crash as well."""


@scenario("kills", rounds=100, seconds=12)
def kill_worker(ground: Ground, chance: random.Random, long: bool) -> str:
    """kill -9 of a media worker at a random moment: at most the fragment under way and what was queued is lost."""
    site, started = ground.site, now_us()
    worker = chance.choice([each for each in site.workers if ground.served_by(each)])
    mine = ground.served_by(worker)
    ground.pause(chance.uniform(0, FILE_S))
    killed = now_us()
    before = _kill_process(ground, worker, chance, "media worker ready")
    until(lambda: site.count("media worker ready", role=worker) > before, explain=site.explain)
    ground.until_begun(killed, mine)
    lost = _lost(ground, mine, started, killed)
    if others := set(ground.all) - set(mine):
        ground.untouched(started, *others)
    ground.mended(killed, mine)
    return f"lost {lost:.1f} s before the kill"


@scenario("kills", rounds=50, seconds=18)
def kill_server(ground: Ground, chance: random.Random, long: bool) -> str:
    """kill -9 of the whole server at a random moment: the same, for all cameras."""
    site, started = ground.site, now_us()
    ground.pause(chance.uniform(0, FILE_S))
    killed = now_us()
    site.kill()
    if chance.random() < AGAIN:
        site.launch()
        ground.pause(chance.uniform(0, 4))
        site.kill()
    site.start()
    ground.until_begun(killed, ground.all)
    back = (now_us() - killed) / 1e6
    lost = _lost(ground, ground.all, started, killed)
    ground.mended(killed, ground.all)
    return f"lost {lost:.1f} s before the kill, back after {back:.0f} s"


@scenario("kills", rounds=50, seconds=10)
def kill_sip(ground: Ground, chance: random.Random, long: bool) -> str:
    """kill -9 of the SIP server at a random moment: calls go on, and no recording loses anything."""
    site, started = ground.site, now_us()
    ground.pause(chance.uniform(0, FILE_S))
    killed = now_us()
    before = _kill_process(ground, "sip", chance, "SIP server ready")
    until(lambda: site.count("SIP server ready") > before, explain=site.explain)
    back = (now_us() - killed) / 1e6
    ground.all_recorded()
    ground.untouched(started, *ground.all)
    return f"back after {back:.0f} s"


FILE_S = 6.0
"""How long a file is where processes are killed: the moment may be that of a new file."""


def _kill_process(ground: Ground, name: str, chance: random.Random, ready: str) -> int:
    """kill -9 once or twice. How often it had said that it is `ready` when it was killed for good."""
    site = ground.site
    for pause in [0.0, chance.uniform(0, 3)][: 1 + (chance.random() < AGAIN)]:
        ground.pause(pause)
        pid = site.pid_of(name)
        site.kill_process(name)
        until(lambda: site.pid_of(name) != pid, explain=site.explain)  # noqa: B023
    return site.count(ready, role=name)


def _lost(ground: Ground, cameras: Iterable[str], started: int, killed: int) -> float:
    """The kill is explained as such for these, and took no more than it may: how much at most, in seconds."""
    lost = 0.0
    for camera in cameras:
        gaps = [each for each in ground.explained(camera, started, DOWN) if each.end > killed]
        assert gaps, (camera, "the kill is not explained")
        assert gaps[0].start > killed - LOST_US, (camera, gaps, killed)
        lost = max(lost, (killed - gaps[0].start) / 1e6)
    return lost


@scenario(viewer=True, seconds=70)
def stalled_disk(ground: Ground, chance: random.Random, long: bool) -> str:
    """A disk takes nothing for 30 s: the others go on, its own camera loses nothing, or a gap says what."""
    began = now_us()
    ground.sick_disk.freeze()
    try:
        ground.until_disk("slow")
        ground.pause(30 if long else 3)
    finally:
        ground.sick_disk.thaw()
    lasted = (now_us() - began) / 1e6
    ground.until_disk("ready")
    ground.all_recorded()
    ground.untouched(began)
    gaps = ground.explained(ground.sick, began, DISK)
    return f"stalled {lasted:.0f} s, {len(gaps)} gaps"


@scenario(viewer=True)
def vanished_disk(ground: Ground, chance: random.Random, long: bool) -> str:
    """A mount vanishes: its camera records to the other disk from its next file on; nothing is written below it."""
    began = now_us()
    ground.sick_disk.vanish()
    try:
        ground.until_disk("away")
        until(lambda: "well" in ground.roots_since(ground.sick, began), explain=ground.site.explain)
        ground.all_recorded()
        assert list(ground.sick_disk.path.iterdir()) == [], "nothing is written where the disk is not mounted"
    finally:
        ground.sick_disk.mount()
    ground.until_disk("ready")
    until(lambda: "sick" in ground.roots_since(ground.sick, began), explain=ground.site.explain)
    ground.untouched(began)
    gaps = ground.explained(ground.sick, began, DISK)
    assert all(gap.seconds < 20 for gap in gaps), gaps
    return f"{len(gaps)} gaps, {sum(gap.seconds for gap in gaps):.1f} s"


@scenario(viewer=True)
def full_disk(ground: Ground, chance: random.Random, long: bool) -> str:
    """A disk is full of what others wrote, and all recordings on it are held: they stay, recording goes elsewhere."""
    began = now_us()
    site, camera = ground.site, ground.sick
    span = ("--from", rfc3339(began - 3600 * 10**6), "--to", rfc3339(began + 3600 * 10**6))
    site.soip("hold", "add", camera, *span, "--reason", "evidence")
    held = len(site.recordings(camera))
    filler = ground.sick_disk.fill(leave=1 << 20)
    try:
        until(lambda: site.count("nothing more may expire"), explain=site.explain)
        until(lambda: "well" in ground.roots_since(camera, began), explain=site.explain)
        ground.all_recorded()
        assert len(site.recordings(camera)) >= held
        assert all(file.path.exists() for file in site.recordings(camera))
    finally:
        filler.unlink()
    ((identity,),) = site.query("SELECT id FROM hold WHERE camera_id = ? AND released_us IS NULL", camera)
    site.soip("hold", "remove", identity)
    ground.until_disk("ready")
    ground.untouched(began)
    gaps = ground.explained(camera, began, DISK)
    return f"{held} files held, {len(gaps)} gaps, {sum(gap.seconds for gap in gaps):.1f} s"


@scenario(viewer=True)
def expiring_disk(ground: Ground, chance: random.Random, long: bool) -> str:
    """Room runs out and nothing is held: the oldest recordings go, and say so; recording never stops."""
    began = now_us()
    site, camera = ground.site, ground.sick
    query = "SELECT count(*) FROM recording WHERE camera_id = ? AND root = ? AND sealed"
    until(lambda: site.query(query, camera, str(ground.sick_disk.path)) != [(0,)], explain=site.explain)
    filler = ground.sick_disk.fill(leave=200 << 20)  # less than recording wants, but room for what is recorded now
    try:
        until(lambda: site.count("recordings expired"), explain=site.explain)
        ground.all_recorded()
    finally:
        filler.unlink()
    ground.until_disk("ready")
    gaps = ground.explained(camera, 0, EXPIRED, DOWN, DISK, CLOCK)
    assert any(gap.cause == EXPIRED for gap in gaps)
    assert not [gap for gap in gaps if gap.cause == DISK and gap.end > began]
    return f"{sum(gap.cause == EXPIRED for gap in gaps)} times expired"


@scenario(viewer=True, seconds=640)
def directory_away(ground: Ground, chance: random.Random, long: bool) -> str:
    """The directory cannot be used for 10 minutes: recording goes on, and the rows come later."""
    began = now_us()
    with closing(sqlite3.connect(ground.site.data / "soip.db", timeout=60, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")  # All that would write waits, and gives up.
        try:
            ground.pause(600 if long else 15)
        finally:
            database.execute("ROLLBACK")
    ground.all_recorded()
    for camera in (ground.sick, ground.well):
        gaps = [gap for gap in ground.explained(camera, began) if gap.end > began]
        assert gaps == [], gaps
    return f"away {(now_us() - began) / 1e6:.0f} s"


@scenario(viewer=True)
def changed_camera(ground: Ground, chance: random.Random, long: bool) -> str:
    """A camera comes back from another address, with another SSRC, resolution and codec profile."""
    began = now_us()
    site, camera = ground.site, ground.sick
    ground.changed = True
    for number, size in enumerate(("320x240", "640x480")):
        ground.cameras[camera].kill()
        film = make_film(site.folder / f"film-{began}-{number}.mp4", 8, size=size)
        since = now_us()
        ground.cameras[camera] = site.simulate(camera, "--source", str(film))
        ground.until_recorded(camera, since)
        site.until_camera(camera)
    ground.cameras[camera].kill()
    since = now_us()
    ground.cameras[camera] = site.simulate(camera)
    ground.until_recorded(camera, since)
    ground.untouched(began)
    gaps = ground.explained(camera, began, "media lost", CLOCK)
    return f"3 changes, {len(gaps)} gaps"


@scenario(viewer=True, seconds=90)
def slow_viewer(ground: Ground, chance: random.Random, long: bool) -> str:
    """Pages and a phone that stop reading: nobody else notices, nothing of the recording is missing."""
    began = now_us()
    site = ground.site
    output = site.folder / f"stopped-{began}.mp4"
    calls = site.count("viewer's call begins")
    phone = site.run("stopped", [sys.executable, "-m", "soip", *site.play_command(ground.well, output)], site.settings)
    pages = ExitStack()
    sockets = [pages.enter_context(open_live(site, ground.well)) for _ in range(5)]  # of which nobody reads
    try:
        until(lambda: site.count("viewer's call begins") > calls or phone.process.poll() is not None)
        os.kill(phone.pid, signal.SIGSTOP)
        ground.pause(60 if long else 5)
    finally:
        phone.kill()
        for socket in sockets:
            socket.close_socket()  # without a word: a farewell would wait behind what nobody has read
        pages.close()
    ground.all_recorded()
    ground.untouched(began)
    return f"{len(sockets)} pages and a phone"


@scenario("clock")
def stepped_clock(ground: Ground, chance: random.Random, long: bool) -> str:
    """The system's clock is set an hour ahead, and back: files do not overlap, and no time is negative."""
    site = ground.site
    for offset in ("+3600", "+0"):
        (site.folder / "clock").write_text(offset + "\n")
        frames = {camera: site.frames(camera) for camera in (ground.sick, ground.well)}
        for camera, count in frames.items():
            until(lambda camera=camera, count=count: site.frames(camera) > count + 100, explain=site.explain)  # type: ignore[misc]
    causes = set()
    for camera in (ground.sick, ground.well):
        files = site.recordings(camera)
        assert all(file.start < file.end for file in files), files
        assert all(one.end <= other.start + ROUNDING_US for one, other in pairwise(files)), files
        gaps = site.gaps(camera)
        assert all(gap.start <= gap.end for gap in gaps), gaps
        assert files[-1].end - files[0].start > 3600 * 10**6, "time went on an hour ahead"
        causes |= {gap.cause for gap in gaps}
    assert CLOCK in causes
    return "+1 h, then back"


@scenario(viewer=True, told=True)
def held_worker(ground: Ground, chance: random.Random, long: bool) -> str:
    """The measure itself: the media worker stands still for half a second at a time, and who watches has to notice."""
    pid, began = ground.site.pid_of("media-0"), now_us()
    while now_us() - began < 12_000_000:
        os.kill(pid, signal.SIGSTOP)
        ground.pause(0.5)
        os.kill(pid, signal.SIGCONT)
        ground.pause(0.7)
    return "and it was noticed"
