"""What a media worker tells, with a real house around it: what came, what was recorded, who watches."""

from __future__ import annotations

import time

import httpx
import pytest

from soip import metrics
from soip.media.metrics import FAMILIES, STATES
from soip.media.tally import Tally
from tests.media.house import PATIENT_S, House, until
from tests.media.peers import RATE, Viewer
from tests.media.test_face import Page, live
from tests.test_metrics import Read, read

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def scrape(home: House) -> Read:
    """The figures of the worker's own face."""
    (instance,) = await home.directory.media.instances()
    key = await home.directory.settings.secret(metrics.KEY)
    async with httpx.AsyncClient(trust_env=False, timeout=PATIENT_S) as client:
        headers = {"Authorization": f"Bearer {key.hex()}"}
        answer = await client.get(f"http://{instance.http}/metrics", headers=headers)
        assert (await client.get(f"http://{instance.http}/metrics")).status_code == 401
        # What browsers reach through the web role does not lead there.
        assert (await client.get(f"{await home.base()}/metrics", headers=headers)).status_code == 404
    assert answer.status_code == 200, answer.text
    return read(answer.text)


def of(found: Read, name: str, **labels: str) -> float:
    """The one figure with these labels among others."""
    (figure,) = [value for (key, have), value in found.items() if key == name and labels.items() <= dict(have).items()]
    return figure


async def test_a_camera_is_told_of_from_its_packets_to_the_disk(home: House, name: str) -> None:
    await live(home, name)
    await home.recorded(1, name)
    found = await scrape(home)
    assert of(found, "soip_media_pictures_total", camera=name) >= RATE
    assert of(found, "soip_media_keyframes_total", camera=name) >= 1
    packets = of(found, "soip_media_packets_received_total", camera=name)
    assert packets >= of(found, "soip_media_pictures_total", camera=name)
    assert of(found, "soip_media_received_bytes_total", camera=name) > 1000
    assert of(found, "soip_media_fragments_written_total", camera=name) >= 1
    assert of(found, "soip_media_write_seconds_total", camera=name) > 0
    for cause in ("foreign", "malformed"):
        assert of(found, "soip_media_packets_dropped_total", camera=name, cause=cause) == 0
    assert {state: of(found, "soip_media_camera_state", camera=name, state=state) for state in STATES} == {
        **dict.fromkeys(STATES, 0),
        "recording": 1,
    }
    assert abs(time.time() - of(found, "soip_media_last_picture_timestamp_seconds", camera=name)) < PATIENT_S
    assert of(found, "soip_worker_recordings_open") >= 1
    assert of(found, "soip_worker_calls", kind="camera") >= 1
    assert of(found, "soip_worker_leased") == 1
    # and what is one worker's, one disk's
    assert of(found, "soip_worker_packets_received_total") >= packets
    root = str(home.settings.media_roots[0])
    assert of(found, "soip_disk_written_bytes_total", disk=root) > 1000
    written = of(found, "soip_disk_write_seconds_count", disk=root)
    assert written >= of(found, "soip_worker_fragments_written_total") >= 1
    assert of(found, "soip_disk_write_seconds_bucket", disk=root, le="+Inf") == written
    assert of(found, "soip_disk_queue_limit_bytes", disk=root) > of(found, "soip_disk_queue_bytes", disk=root) >= 0
    assert of(found, "soip_disk_size_bytes", disk=root) > of(found, "soip_disk_free_bytes", disk=root) > 0
    assert of(found, "soip_disk_accepting", disk=root) == 1


async def test_every_family_is_told_of_and_none_else(home: House, name: str) -> None:
    await live(home, name)
    told = {key.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for key, _ in await scrape(home)}
    assert told == {family.written for family in FAMILIES}


async def test_viewers_are_told_by_their_way(home: House, name: str) -> None:
    await live(home, name)
    viewer = await Viewer.make(home, "ann")
    await viewer.dial(name)
    page = await Page.open(home, name)
    await page.read(2)

    async def watched() -> list[float]:
        found = await scrape(home)
        ways = [of(found, "soip_media_viewers", camera=name, way=way) for way in ("rtp", "browser")]
        return [*ways, of(found, "soip_worker_calls", kind="live"), of(found, "soip_worker_calls", kind="playback")]

    await until(watched, [1, 1, 1, 0])
    before = of(await scrape(home), "soip_media_sent_bytes_total", camera=name)
    await page.read(5)
    assert of(await scrape(home), "soip_media_sent_bytes_total", camera=name) > before
    page.leave()
    await viewer.call.bye()
    await until(watched, [0, 0, 0, 0])


async def test_what_was_counted_outlives_calls_and_cameras(home: House, name: str) -> None:
    camera = await live(home, name)
    await home.recorded(0.5, name)
    first = await scrape(home)
    await camera.hang_up()

    async def again() -> bool:
        return camera.up == 1 and of(await scrape(home), "soip_media_camera_state", camera=name, state="recording") == 1

    await until(again, True)
    second = await scrape(home)
    for counter in ("packets_received", "pictures", "fragments_written", "received_bytes"):
        label = f"soip_media_{counter}_total"
        assert of(second, label, camera=name) > of(first, label, camera=name)
    await home.directory.cameras.remove(name)

    async def gone() -> bool:
        return not any(dict(labels).get("camera") == name for _, labels in await scrape(home))

    await until(gone, True)
    third = await scrape(home)
    for counter in ("packets_received", "pictures", "received_bytes"):
        assert of(third, f"soip_worker_{counter}_total") >= of(second, f"soip_worker_{counter}_total")


async def test_snapshots_are_counted(home: House, name: str) -> None:
    await live(home, name)
    before = await scrape(home)
    client = await home.http()
    token = home.token("live", camera=name)
    assert (await client.get(f"/snapshot/{name}.jpg", params={"token": token})).status_code == 200
    await home.add_camera(f"{name}-away", plan="never")  # nobody is there to be called
    away = home.token("live", camera=f"{name}-away")
    assert (await client.get(f"/snapshot/{name}-away.jpg", params={"token": away})).status_code == 503
    after = await scrape(home)
    for result in ("taken", "failed"):
        assert of(after, "soip_worker_snapshots_total", result=result) == 1 + of(
            before, "soip_worker_snapshots_total", result=result
        )
    await home.directory.cameras.remove(f"{name}-away")


async def test_tallies_add_up() -> None:
    total = Tally(packets=1, lost=2, write_seconds=0.5)
    total.add(Tally(packets=10, sent=7, write_seconds=0.25))
    assert total == Tally(packets=11, lost=2, sent=7, write_seconds=0.75)
