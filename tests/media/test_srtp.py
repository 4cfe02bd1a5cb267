"""Viewers and cameras by SRTP, with the media worker, the SIP server and TLS as they are."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from soip.config import HostPort
from soip.net.errors import RequestRefusedError
from soip.rtp import rtcp
from soip.sip import sdes
from soip.sip.sdes import MATERIAL, Keying, Srtp
from soip.sip.sdp import SessionDescription
from tests.media.house import House, living, until
from tests.media.peers import Camera, Viewer
from tests.media.test_calls import clock
from tests.mp4.material import video
from tests.signalling.test_tls import certify
from tests.site import free_port

HELD = (b"a=recvonly", b"a=inactive")


def keys() -> Srtp:
    return Srtp(secrets.token_bytes(MATERIAL))


@asynccontextmanager
async def secured(furnished: Path, data: Path, srtp: str, **settings: object) -> AsyncIterator[House]:
    """A house that listens with TLS too, whose media worker runs."""
    certify(data / "tls")
    tls = HostPort("127.0.0.1", free_port("127.0.0.1"))
    async with living(furnished, data, sip_tls=tls, srtp=srtp, **settings) as house:
        house.start_media()
        await house.base()
        yield house


def protocols(camera: Camera) -> list[str]:
    """By what it was called, each time."""
    return [offer.media[0].protocol for offer in camera.offers]


async def heard(viewer: Viewer, camera: Camera) -> None:
    """What the viewer asks for by RTCP reaches the camera, once in two seconds; one more came of joining."""
    before = camera.keyframes_asked

    def asked() -> bool:
        viewer.ask_keyframe()
        return camera.keyframes_asked > before + 1

    await until(asked, True)


async def refused(viewer: Viewer, **how: object) -> str:
    with pytest.raises(RequestRefusedError) as caught:
        await viewer.dial(**how)  # type: ignore[arg-type]  # keywords by name
    assert caught.value.status == 488
    return caught.value.said


async def test_where_it_is_optional_everybody_gets_what_he_can(furnished_media: Path, tmp_path: Path) -> None:
    async with secured(furnished_media, tmp_path, "optional") as house:
        await house.add_camera(audio=True)
        camera = Camera(house, await house.agent("cam1", "secret", tls=True), sound=True)
        camera.keys = keys
        camera.agent.on_invite(camera._take)
        await camera.agent.register(60)
        await house.until_state("recording")
        assert protocols(camera) == ["RTP/SAVP"]
        await until(lambda: camera.reports > 0, True)

        # Pictures and sound, encrypted for one and in the clear for another, of the one session.
        viewer = await (await Viewer.make(house, tls=True)).dial(audio=True, keys=keys)
        plain = await (await Viewer.make(house, "bob")).dial(audio=True)
        sent = {b"".join(frame) for frame in video(100, 25).frames}
        for one in (viewer, plain):
            units = await one.see(30)
            assert units[0].keyframe or one.pictures[0].keyframe
            assert all(b"".join(unit.nals) in sent for unit in units)
            assert sum(unit.lost for unit in units) == 0
        await until(lambda: min(len(viewer.sound), len(plain.sound)) > 20, True)
        shown = viewer.agreement.video
        assert shown is not None
        assert shown.srtp is not None
        assert plain.agreement.video is not None
        assert plain.agreement.video.srtp is None
        assert viewer.pairs[0].srtp is not None
        assert viewer.pairs[0].srtp.refused == 0

        # Reports come protected, and what the viewer asks for by RTCP is heard.
        await until(lambda: any(isinstance(packet, rtcp.SenderReport) for packet in viewer.control), True)
        await heard(viewer, camera)

        # Hold and resume: the same keys, and the packets are counted on.
        mine = viewer.call.local_sdp
        first = SessionDescription.parse(viewer.call.remote_sdp)
        answer = SessionDescription.parse(await viewer.call.reinvite(mine.replace(*HELD)))
        assert answer.media[0].attributes("crypto") == first.media[0].attributes("crypto")
        await viewer.call.reinvite(mine)
        await viewer.see(5)
        assert viewer.pairs[0].srtp.refused == 0

        # New keys of the viewer's: what it says is heard with those, and pictures go on.
        before, new = shown.srtp, keys()
        changed = SessionDescription.parse(mine)
        changed.media[0].lines = [line for line in changed.media[0].lines if not line[1].startswith("crypto:")]
        for crypto in sdes.offers(new):
            changed.media[0].add_attribute("crypto", str(crypto))
        await viewer.call.reinvite(changed.to_bytes())
        viewer.pairs[0].secure(Keying(before.suite, new.key(before.suite), before.theirs))
        await heard(viewer, camera)
        await viewer.see(5)

        # What was recorded of it comes encrypted as well.
        await house.recorded(2)
        start = (await house.recordings())[0].start_us
        past = await (await Viewer.make(house, "bob", tls=True)).dial(f"cam1;start={clock(start)}", keys=keys)
        assert all(b"".join(unit.nals) in sent for unit in await past.see(20))
        assert len(camera.asked) == 1


async def test_a_camera_that_takes_no_srtp_is_called_without_and_one_by_udp_is_not_asked(
    furnished_media: Path, tmp_path: Path
) -> None:
    async with secured(furnished_media, tmp_path, "optional") as house:
        await house.add_camera("cam1")
        await house.add_camera("cam2")
        unwilling = await Camera.make(house, "cam1", tls=True)
        by_udp = await Camera.make(house, "cam2")
        by_udp.keys = keys
        await house.until_state("recording", "cam1")
        await house.until_state("recording", "cam2")
        assert protocols(unwilling)[-2:] == ["RTP/SAVP", "RTP/AVP"]
        assert set(protocols(by_udp)) == {"RTP/AVP"}


async def test_where_it_is_required_nothing_else_is_taken(furnished_media: Path, tmp_path: Path) -> None:
    async with secured(furnished_media, tmp_path, "required") as house:
        await house.add_camera("cam1")
        await house.add_camera("cam2")
        safe = await Camera.make(house, "cam1", tls=True, registers=False)
        safe.keys = keys
        await safe.agent.register(60)
        in_the_open = await Camera.make(house, "cam2")
        in_the_open.keys = keys
        await house.until_state("recording", "cam1")
        gap = await house.until_gap("camera offline", "cam2")
        assert "keys of SRTP go by TLS only, and this is reached by UDP" in gap.detail
        assert in_the_open.asked == []
        viewer = await Viewer.make(house, tls=True)
        assert "SRTP only here: register by TLS" in await refused(viewer)
        assert "with an offer of RTP/SAVP" in await refused(viewer, delayed=True)
        await (await viewer.dial(keys=keys)).see(10)


async def test_where_it_is_off_it_is_neither_offered_nor_taken(furnished_media: Path, tmp_path: Path) -> None:
    async with secured(furnished_media, tmp_path, "off") as house:
        await house.add_camera("cam1")
        camera = await Camera.make(house, "cam1", tls=True)
        await house.until_state("recording", "cam1")
        assert set(protocols(camera)) == {"RTP/AVP"}
        viewer = await Viewer.make(house, tls=True)
        assert "(SRTP) is switched off here" in await refused(viewer, keys=keys)
        await (await viewer.dial()).see(5)
