"""The life of a camera at its media worker: called, recorded, lost, called again, let go."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from soip.media.camerastream import cause_of
from soip.net.backoff import Backoff, Jitter
from soip.net.errors import FlowError, RequestRefusedError, RequestTimeoutError
from soip.net.ports import PortsExhaustedError
from soip.sip.errors import OfferError, TooManyTransactionsError
from soip.sip.message import Headers, Response
from soip.store.reader import RecordingFile
from tests.media.house import PATIENT_S, RESTLESS, SECOND, House, now_us, until
from tests.media.peers import Camera, Viewer
from tests.store.recordings import probe

shared = pytest.mark.asyncio(loop_scope="module")
"""For tests that share one house."""


async def test_a_camera_is_called_by_plan_and_recorded(house: House) -> None:
    await house.add_camera()
    camera = await Camera.make(house)
    house.start_media()
    await house.until_state("recording")
    await house.recorded(1.0)
    await house.stop_media()
    assert len(camera.asked) == 1
    await until(lambda: camera.up, 0)  # who goes says BYE
    (row,) = await house.recordings()
    assert row.sealed
    seen = await asyncio.to_thread(probe, Path(row.root, row.path))
    assert seen.errors == ""
    assert seen.frames == row.frames >= 25
    assert await house.gaps() == []
    assert await house.directory.calls.dialogs(row.instance_id) == []


@shared
async def test_an_offer_to_a_camera_asks_for_pictures_only_and_no_sound(home: House, name: str) -> None:
    await home.add_camera(name)
    camera = await Camera.make(home, name, sound=True)
    await home.until_state("recording", name)
    offer = camera.offers[0]
    shown, heard = offer.of_kind("video"), offer.of_kind("audio")
    assert shown is not None
    assert offer.direction(shown) == "recvonly"
    assert heard is None or offer.direction(heard) == "inactive"


async def test_sound_is_recorded_where_the_camera_may_be_heard_and_the_call_made_anew_for_it(house: House) -> None:
    await house.add_camera()
    camera = await Camera.make(house, sound=True)
    house.start_media()
    await house.until_state("recording")
    await house.directory.cameras.change("cam1", audio=True)
    await until(lambda: len(camera.asked), 2)
    await until(lambda: _files(house), 2)
    await house.recorded(1.5)
    await house.stop_media()
    before, after = await house.recordings()
    assert "mp4a" not in before.tracks
    assert "mp4a.40.2" in after.tracks
    causes = [(gap.cause, gap.detail) for gap in await house.gaps()]
    assert causes == [("media lost", "the camera's settings have changed")]


async def test_a_camera_whose_clock_is_wrong_is_told_of_once_and_its_files_say_by_how_much(house: House) -> None:
    await house.add_camera()
    camera = await Camera.make(house)
    camera.ahead_us = -3_600_000_000
    with capture_logs() as told:
        house.start_media()
        await house.recorded(3.0)
        await camera.hang_up()
        await until(lambda: _files(house), 2)
        await house.recorded(4.0)
        await house.stop_media()
    words = [entry["ahead_s"] for entry in told if entry["event"] == "the camera's clock is wrong"]
    assert 1 <= len(words) <= len(camera.calls), "once a call, however often it reports"
    assert words[0] == pytest.approx(-3600, abs=30)
    row = (await house.recordings())[1]
    with RecordingFile(Path(row.root, row.path)) as file:
        offset = file.index.init.head.camera_offset_us
    assert offset == pytest.approx(-3_600_000_000, abs=30_000_000)
    assert abs(row.start_us - now_us()) < 600_000_000, "recordings go by the server's clock"


async def test_a_camera_that_is_not_registered_is_offline_until_it_registers(house: House) -> None:
    house.patience = replace(house.patience, backoff=Backoff(600.0, 600.0))
    await house.add_camera()
    camera = await Camera.make(house, registers=False)
    house.start_media()
    await house.until_state("offline")
    assert (await house.until_gap("camera offline")).detail == "the camera is not registered"
    await camera.agent.register(60)
    await house.until_state("recording")
    await house.recorded(0.4)
    (gap,), (row,) = await house.gaps(), await house.recordings()
    assert gap.end_us == row.start_us


@shared
async def test_a_camera_that_hangs_up_is_called_again(home: House, name: str) -> None:
    await home.add_camera(name)
    camera = await Camera.make(home, name)
    await home.recorded(0.5, name)
    await camera.hang_up()
    await until(lambda: len(camera.asked), 2)
    await home.until_state("recording", name)
    await until(lambda: _files(home, name), 2)
    gap = (await home.gaps(name))[-1]
    one, other = await home.recordings(name)
    assert gap.cause == "camera offline"
    assert "the camera reboots" in gap.detail
    assert (gap.start_us, gap.end_us) == (one.end_us, other.start_us)


async def _files(house: House, camera: str = "cam1") -> int:
    return len(await house.recordings(camera))


async def test_a_refresh_from_before_it_fell_silent_does_not_say_that_a_camera_is_back(house: House) -> None:
    house.patience = RESTLESS
    await house.add_camera()
    camera = await Camera.make(house)
    house.start_media()
    await house.recorded(1.0)
    await camera.agent.register(60)
    await house.recorded(2.0)
    camera.sends, before = False, len(camera.asked)
    await until(lambda: len(camera.asked) > before, True)
    silent_s = camera.asked[before] - camera.sent_at
    assert silent_s >= house.patience.dead_s, "its call was given the time it has"


@dataclass(frozen=True, slots=True)
class Noted(Backoff):
    """Tells how many failures it was asked about."""

    failures: list[int] = field(default_factory=list)

    def delay(self, failures: int, jitter: Jitter) -> float:
        self.failures.append(failures)
        return 0.05


async def test_who_answers_and_hangs_up_is_called_less_and_less(house: House) -> None:
    backoff = Noted()
    house.patience = replace(house.patience, backoff=backoff)
    await house.add_camera()
    camera = await Camera.make(house)
    camera.answers = 0
    house.start_media()
    await until(lambda: len(backoff.failures) >= 5, True)
    assert backoff.failures[:5] == [1, 2, 3, 4, 5]
    camera.answers = 200
    await house.until_state("recording")
    failures = len(backoff.failures)
    camera.answers = 0
    await camera.hang_up()
    await until(lambda: len(backoff.failures) > failures, True)
    assert backoff.failures[failures] == 1, "pictures have shown that it is well"


async def test_who_refuses_or_never_answers_is_offline_with_the_reason(house: House) -> None:
    await house.add_camera()
    camera = await Camera.make(house)
    camera.answers = 486
    house.start_media()
    assert "486" in (await house.until_gap("camera offline")).detail
    await house.stop_media()
    house.patience = replace(house.patience, setup_s=0.5)
    camera.answers = -1
    before = len(camera.asked)
    house.start_media()
    await until(lambda: len(camera.asked) >= before + 2, True)

    async def told() -> bool:
        return "not answered in 0.5 s" in (await house.gaps())[-1].detail

    await until(told, True)
    await house.until_state("offline")
    camera.answers = 200
    await house.until_state("recording")


@shared
async def test_a_camera_that_answers_with_a_failure_of_its_own_is_offline(home: House, name: str) -> None:
    await home.add_camera(name)
    camera = await Camera.make(home, name)
    await home.recorded(0.3, name)
    camera.answers = 500
    await camera.hang_up()
    await until(lambda: len(camera.asked) >= 3, True)
    assert set(await _causes(home, name)) == {"camera offline"}


async def test_without_the_sip_server_it_is_the_server_that_is_down_and_not_the_camera(house: House) -> None:
    await house.add_camera(plan="never")
    await Camera.make(house)
    house.start_media()
    await house.until_state("idle")
    await house.stop_sip()
    await house.directory.cameras.change("cam1", plan="always")
    gap = await house.until_gap("media server down")
    assert "no connection" in gap.detail


def refusal(status: int, asserted: str | None = None) -> RequestRefusedError:
    headers = Headers([("P-Asserted-Identity", asserted)] if asserted else [])
    return RequestRefusedError(Response(status, "no", headers))


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (refusal(404), "camera offline"),
        (refusal(408), "camera offline"),
        (refusal(480), "camera offline"),
        (refusal(486, "<sip:cam1@soip.test>"), "camera offline"),
        (refusal(500, "<sip:cam1@soip.test>"), "camera offline"),
        (refusal(600), "camera offline"),
        (RequestTimeoutError("not answered in 20 s"), "camera offline"),
        (OfferError("no video"), "camera offline"),
        (refusal(500), "media server down"),
        (refusal(503), "media server down"),
        (FlowError("no connection"), "media server down"),
        (PortsExhaustedError("all in use"), "media server down"),
        (OSError(24, "Too many open files"), "media server down"),
        (TooManyTransactionsError("later"), "media server down"),
    ],
)
def test_whose_fault_it_is_that_there_is_no_call(error: Exception, cause: str) -> None:
    assert cause_of(error) == cause


async def test_silence_is_a_gap_that_begins_with_it_and_the_call_goes_on(house: House) -> None:
    house.patience = replace(RESTLESS, dead_s=30.0)
    await house.add_camera()
    camera = await Camera.make(house)
    house.start_media()
    await house.recorded(0.5)
    camera.sends = False

    async def begins_with_silence() -> bool:
        """And not when it is noticed."""
        rows, gaps = await house.recordings(), await house.gaps()
        return bool(gaps) and (gaps[-1].cause, gaps[-1].start_us) == ("media lost", rows[-1].end_us)

    await until(begins_with_silence, True)
    await house.until_state("no-media")
    camera.sends = True
    await house.until_state("recording")
    assert len(camera.asked) == 1, "a camera that only paused keeps its call"


async def test_long_silence_is_the_end_of_the_call(house: House) -> None:
    house.patience = RESTLESS
    await house.add_camera()
    camera = await Camera.make(house)
    house.start_media()
    await house.recorded(0.5)
    before = len(camera.asked)
    camera.sends = False
    await house.until_gap("camera offline")
    assert any("no picture for" in gap.detail for gap in await house.gaps())
    await until(lambda: len(camera.asked) > before, True)
    camera.sends = True
    await house.until_state("recording")


async def test_a_camera_that_never_sends_is_told_apart_from_one_that_is_away(house: House) -> None:
    house.patience = RESTLESS
    await house.add_camera()
    camera = await Camera.make(house)
    camera.sends = False
    house.start_media()
    await house.until_state("no-media")
    assert (await house.until_gap("media lost")).detail == "the camera is in a call but sends no pictures"
    await until(lambda: len(camera.asked) >= 2, True)


@shared
async def test_plans_are_followed(home: House, name: str) -> None:
    await home.add_camera(name, plan="never")
    camera = await Camera.make(home, name)
    await home.until_state("idle", name)
    gap = await home.until_gap("not planned", name)
    assert camera.asked == []
    await home.directory.cameras.change(name, plan="always")
    await home.until_state("recording", name)
    await home.recorded(0.4, name)
    await home.directory.cameras.change(name, plan="never")
    await home.until_state("idle", name)
    await until(lambda: camera.up, 0)
    await until(lambda: _causes(home, name), ["not planned", "not planned"])
    first, second = await home.gaps(name)
    (row,) = await home.recordings(name)
    assert (first.id, first.end_us, second.start_us) == (gap.id, row.start_us, row.end_us)


async def _causes(house: House, camera: str = "cam1") -> list[str]:
    return [gap.cause for gap in await house.gaps(camera)]


@shared
async def test_cameras_come_and_go_while_the_worker_runs(home: House, name: str) -> None:
    await home.add_camera(name)
    camera = await Camera.make(home, name)
    await home.until_state("recording", name)
    watching = await (await Viewer.make(home)).dial(name)
    await watching.see(5)
    await home.directory.cameras.remove(name)
    assert "removed" in await watching.ended()
    await until(lambda: camera.up, 0)
    await until(lambda: _sealed(home, name), [True])
    await home.add_camera(name)
    await camera.agent.register(60)
    await until(lambda: camera.up, 1)
    await until(lambda: _files(home, name), 2)
    assert set(await _causes(home, name)) == {"not planned", "camera offline"}, "the server was up all the time"


async def _sealed(house: House, camera: str = "cam1") -> list[bool]:
    return [row.sealed for row in await house.recordings(camera)]


async def test_a_worker_the_sip_server_does_not_know_yet_tries_again(house: House) -> None:
    await house.add_camera()
    await Camera.make(house)
    house.settings.media_server_file.unlink()
    house.start_media()  # It makes its account only now: the SIP server reads the directory each second.
    await house.until_state("recording")
    assert house.media_failed is None


async def test_a_worker_waits_for_a_sip_server_that_is_away(house: House) -> None:
    await house.add_camera()
    await house.stop_sip()
    house.start_media()
    await house.base()
    await asyncio.sleep(1)
    assert house.media_failed is None
    await house.start_sip()
    await Camera.make(house)
    await house.until_state("recording")


async def test_after_the_sip_server_is_back_the_call_still_stands(house: House) -> None:
    await house.add_camera()
    camera = await Camera.make(house)
    house.start_media()
    await house.recorded(0.5)
    await house.stop_sip()
    await asyncio.sleep(0.3)
    restarted_us = now_us()
    await house.start_sip()

    async def back() -> bool:
        """The worker has registered with it anew."""
        bindings = await house.directory.calls.bindings()
        return any(row.account_id != "cam1" and row.registered_us >= restarted_us for row in bindings)

    await until(back, True)
    assert len(camera.asked) == 1
    assert camera.up == 1
    await camera.hang_up()
    await until(lambda: len(camera.asked), 2)


@shared
async def test_the_cameras_clock_gets_reports(home: House, name: str) -> None:
    await home.add_camera(name)
    camera = await Camera.make(home, name)
    await home.until_state("recording", name)
    await until(lambda: camera.reports >= 1, True)


async def test_times_in_the_catalog_are_true(house: House) -> None:
    await house.add_camera()
    await Camera.make(house)
    house.start_media()
    await house.recorded(1)
    await house.stop_media()
    (row,) = await house.recordings()
    assert abs((row.end_us - row.start_us) / SECOND - row.frames / 25) < 0.1


async def test_a_camera_that_moved_is_left_and_who_watches_is_told_to_ask_again(house: House) -> None:
    await house.add_camera()
    camera = await Camera.make(house)
    house.start_media()
    await house.recorded(1.0)
    viewer = await (await Viewer.make(house)).dial("cam1")
    await viewer.see(3)
    (here,) = await house.directory.media.instances()
    there = await house.directory.media.publish(here.server_id, 7, sip="", http="127.0.0.1:1")
    await house.directory.homes.move("cam1", there.id)
    assert "served elsewhere" in await viewer.ended(PATIENT_S)
    await until(lambda: camera.up, 0)

    async def sealed() -> bool:
        return all(await _sealed(house, "cam1"))

    await until(sealed, True)
    before = await house.recordings()
    row = before[-1]
    assert all(gap.end_us <= row.start_us for gap in await house.gaps()), "what comes after is for others to explain"
    state = (await house.directory.cameras.states())["cam1"]
    await house.directory.homes.move("cam1", here.id)
    await until(lambda: camera.up, 1)

    async def again() -> bool:
        return await _files(house) > len(before)

    await until(again, True)
    (gap,) = (gap for gap in await house.gaps() if there.id in gap.detail)
    assert (gap.cause, gap.start_us) == ("media server down", row.end_us)
    assert (await house.directory.cameras.states())["cam1"].updated_us > state.updated_us


async def test_the_sip_server_s_word_is_enough_while_the_directory_is_away(house: House) -> None:
    """The worker, whose way to the directory is cut, goes on recording, and leaves the camera when it is told."""
    way = house.settings.data / "way.db"
    way.symlink_to(house.settings.data / "soip.db")
    house.settings = house.settings.model_copy(update={"directory": way, "failover_seconds": 2.0})
    await house.add_camera()
    camera = await Camera.make(house)
    house.start_media()
    await house.recorded(1.0)
    (here,) = await house.directory.media.instances()
    there = await house.directory.media.publish(here.server_id, 7, sip="", http="127.0.0.1:1")
    way.unlink()
    await asyncio.sleep(2)  # longer than its lease: nobody else could have the directory it has not
    assert camera.up == 1
    await house.directory.homes.move("cam1", there.id)
    await until(lambda: camera.up, 0)
    assert house.media_failed is None


async def test_the_heartbeat_says_what_the_worker_carries(house: House) -> None:
    house.settings = house.settings.model_copy(update={"failover_seconds": 6.0})
    await house.add_camera()
    await Camera.make(house)
    house.start_media()

    async def told() -> bool:
        rows = await house.directory.media.instances()
        return any(row.streams == 1 and row.in_bps > 0 and row.accepting and row.disk_total > 0 for row in rows)

    await until(told, True)
    (row,) = await house.directory.media.instances()
    assert (row.lease_s, row.viewers, row.out_bps) == (3.0, 0, 0)
