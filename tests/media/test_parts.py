"""Small parts: rights, the worker's own address, the transcoder, the archive's rows."""

from __future__ import annotations

import io
from pathlib import Path

import av
import pytest

from soip import serve
from soip.directory.directory import Directory
from soip.media import audio
from soip.media.archive import CLOSE_S
from soip.media.context import numeric, own_address
from soip.media.grants import Grants, RefusedError
from soip.media.patience import Patience
from soip.media.rights import Rights, View
from soip.media.rows import recording_id
from soip.media.soundtrack import SoundTrack
from soip.policy.access import Permission
from soip.rtp.sound import PCMU
from soip.sip.errors import OfferError


@pytest.fixture
async def directory(tmp_path: Path) -> Directory:
    directory = await Directory.open(f"sqlite+aiosqlite:///{tmp_path / 'soip.db'}")
    for name, role in (("ann", "viewer"), ("bob", "operator")):
        await directory.users.add(name, password="x", role=role, realm="r", sip_password="x")
    return directory


async def test_rights_are_roles_and_end_with_them(directory: Directory) -> None:
    rights = Rights(directory)
    ended: list[str] = []

    def view(subject: str, permission: Permission) -> View:
        return View(subject, permission, lambda: ended.append(f"{subject} {permission}"))

    assert await rights.may("ann", Permission.PLAYBACK)
    assert not await rights.may("ann", Permission.EXPORT)
    assert not await rights.may("nobody", Permission.WATCH)
    watching, exporting = view("ann", Permission.WATCH), view("bob", Permission.EXPORT)
    await rights.begin(watching)
    await rights.begin(exporting)
    await rights.check_again()
    assert ended == []
    await directory.users.set_role("bob", "viewer")
    await rights.check_again()
    await rights.check_again()
    assert ended == ["bob export"], "it ends once"
    rights.finish(watching)
    await directory.users.remove("ann")
    await rights.check_again()
    assert ended == ["bob export"], "who has gone is not ended again"
    await directory.close()


async def test_a_right_that_ended_while_the_view_was_set_up_ends_it_at_once(directory: Directory) -> None:
    rights = Rights(directory)
    ended: list[bool] = []
    await directory.users.remove("ann")
    await rights.begin(View("ann", Permission.WATCH, lambda: ended.append(True)))
    assert ended == [True]
    await rights.check_again()
    assert ended == [True]
    await directory.close()


async def test_a_directory_that_is_away_ends_no_view(directory: Directory) -> None:
    rights = Rights(directory)
    await directory.close()
    with pytest.raises(RefusedError):
        await Grants(b"key", rights).check("forged", "cam1", "live")


@pytest.mark.parametrize(
    ("host", "address"),
    [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("localhost", "127.0.0.1")],
)
def test_the_address_in_sdp_is_the_one_listened_on(host: str, address: str) -> None:
    assert own_address(host) in (address, "::1")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_for_a_wildcard_it_is_an_address_of_this_machine(host: str) -> None:
    found = own_address(host)
    assert found not in ("0.0.0.0", "::")
    assert numeric(found) == found


@pytest.mark.parametrize("host", ["camera.example", "", "127.0.0.1.5", "[::1]", "fe80::1%"])
def test_media_goes_to_numbers_only(host: str) -> None:
    with pytest.raises(OfferError, match="IP addresses only") as caught:
        numeric(host)
    assert caught.value.status == 488


def test_a_recording_has_the_same_id_whoever_makes_its_row() -> None:
    assert recording_id("/media", "cam1/a.mp4") == recording_id("/media", "cam1/a.mp4")
    assert recording_id("/media", "cam1/a.mp4") != recording_id("/medi", "acam1/a.mp4")


def test_the_supervisor_waits_longer_than_a_worker_may_take_to_end() -> None:
    farewells = 3 * Patience().farewell_s  # To cameras, to viewers, to the SIP server; each of them at once.
    assert serve.Patience().grace_s > farewells + CLOSE_S


# -- sound


def decoded(config: bytes, frames: list[bytes]) -> list[float]:
    """What an AAC decoder makes of frames."""
    decoder = av.CodecContext.create("aac", "r")
    assert isinstance(decoder, av.AudioCodecContext)
    decoder.extradata = config
    out = io.BytesIO()
    for frame in frames:
        for piece in decoder.decode(av.Packet(frame)):
            out.write(bytes(piece.planes[0])[: 4 * piece.samples])
    return list(memoryview(out.getvalue()).cast("f"))


@pytest.mark.parametrize(("encoding", "quiet"), [("PCMU", b"\xff"), ("PCMA", b"\xd5")])
def test_every_sample_becomes_aac(encoding: str, quiet: bytes) -> None:
    transcoder = audio.AacTranscoder(encoding)
    loud = bytes(0x80 | at * 13 & 0x7F for at in range(160))
    frames: list[bytes] = []
    for number in range(100):
        frames += transcoder.feed(loud if number >= 50 else quiet * 160)
    assert transcoder.waiting == 16_000 % audio.SAMPLES_PER_FRAME
    frames += transcoder.finish()
    samples = decoded(transcoder.config, frames)
    heard = samples[audio.SAMPLES_PER_FRAME :]  # The first frame is the encoder's own.
    assert 16_000 <= len(heard) < 16_000 + audio.SAMPLES_PER_FRAME
    assert max(map(abs, heard[:7_000])) < 0.02
    assert max(map(abs, heard[9_000:15_000])) > 0.1


def test_a_track_counts_frames_from_the_first_sound_on() -> None:
    track = SoundTrack(PCMU)
    assert track.take() is None
    start_us = 1_795_168_800_000_000
    for number in range(200):
        track.feed(b"\xff" * 160, start_us + number * 20_000)
    first = track.take()
    assert first is not None
    assert abs(first.decode_time * 125 - start_us) <= 128_000
    track.finish()
    rest = track.take()
    assert rest is not None
    assert rest.decode_time == first.decode_time + 1024 * len(first.samples)
    end_us = (rest.decode_time + 1024 * len(rest.samples)) * 125
    assert 0 <= end_us - (start_us + 4_000_000) < 128_000
    assert track.take() is None
