"""A camera behind a bad network, in a call with the real worker: what is lost is asked for again, or marked."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from pathlib import Path

from soip.directory.rows import RecordingRow
from soip.net.call import Call
from soip.net.gso import GsoSender
from soip.net.rtp import Peer, RtpSocketPair
from soip.net.ua import UserAgent
from soip.rtp import rtcp
from soip.rtp.h264 import H264
from soip.rtp.nal import packetise
from soip.rtp.packet import parse
from soip.rtp.retransmission import Answers, History
from soip.rtp.sender import SendStream
from soip.rtp.sound import PCMU, SoundFormat
from soip.sip.offer import Agreement
from soip.store.reader import Frame, play
from tests.media.house import House, until
from tests.media.peers import GOP, RATE, Camera
from tests.mp4.material import video

TICKS = 90_000 // RATE
SIZE = 300
"""Of packets: small ones, so that there are many to lose."""


class BadWay:
    """A small UDP relay that loses some datagrams, and lets others overtake each other."""

    def __init__(self, there: tuple[str, int], loss: float, *, disorder: float = 0.01) -> None:
        self.dropped: list[bytes] = []
        self.spared = True
        """Nothing is lost while it is."""
        self._loss, self._disorder = loss, disorder
        self._random = random.Random(7)
        self._overtaken: bytes | None = None
        self._in, self._out = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self._in.bind(("127.0.0.1", 0))
        self._in.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self._in.setblocking(False)
        self._out.connect(there)
        self.address: tuple[str, int] = self._in.getsockname()
        asyncio.get_running_loop().add_reader(self._in, self._carry)

    def _carry(self) -> None:
        while True:
            try:
                datagram = self._in.recv(2048)
            except BlockingIOError:
                return
            if not self.spared and self._random.random() < self._loss:
                self.dropped.append(datagram)
            elif self._overtaken is None and self._random.random() < self._disorder:
                self._overtaken = datagram
            else:
                self._out.send(datagram)
                if self._overtaken is not None:
                    self._out.send(self._overtaken)
                    self._overtaken = None

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._in)
        self._in.close()
        self._out.close()


class LossyCamera(Camera):
    """Sends over a bad way; `answers_nack` sends again what it is asked for."""

    loss = 0.01
    answers_nack = False

    def __init__(self, house: House, agent: UserAgent, *, sound: bool = False, speaks: SoundFormat = PCMU) -> None:
        super().__init__(house, agent, sound=sound, speaks=speaks)
        self.sent: list[list[bytes]] = []
        self.ways: list[BadWay] = []
        self.nacks = self.sent_again = 0
        self.ssrc = 0

    async def _send(
        self, agreement: Agreement, pairs: list[RtpSocketPair], over: asyncio.Event, sides: tuple[int, int]
    ) -> None:
        stream = agreement.video
        assert stream is not None
        assert "nack" in stream.feedback
        way = BadWay(stream.remote, self.loss)
        self.ways.append(way)
        try:
            pairs[0].connect(Peer(*way.address), Peer(*stream.remote_rtcp))
            sender, numbered = GsoSender(pairs[0].rtp, SIZE), SendStream(stream.payload_type, 77, 65_000)
            history, answers = History(SIZE), Answers()
            frames = video(100, GOP, width=640, height=480).frames
            loop = asyncio.get_running_loop()
            began, key_at = loop.time(), 0
            while not over.is_set():
                number = len(self.sent)
                if self._heed(pairs[0], sender, history, answers):
                    key_at = number
                nals = [bytes(nal) for nal in frames[(number - key_at) % 100]]
                self.sent.append(nals)
                first = numbered.sequence
                runs = numbered.stamp(packetise(H264, nals, SIZE), number * TICKS)
                history.add(first, runs, loop.time())
                sender.send(runs)
                await asyncio.sleep(max(0.0, began + (number + 1) / RATE - loop.time()))
        finally:
            way.close()

    def _heed(self, pair: RtpSocketPair, sender: GsoSender, history: History, answers: Answers) -> bool:
        wanted = False
        for datagram in pair.drain_control(memoryview(bytearray(2048))):
            for packet in rtcp.parse(datagram):
                if isinstance(packet, rtcp.PictureLossIndication):
                    self.keyframes_asked += 1
                    wanted = True
                elif isinstance(packet, rtcp.Nack):
                    self.nacks += 1
                    if self.answers_nack:
                        again = answers.answer(history, packet.sequences, 0.0, asyncio.get_running_loop().time())
                        self.sent_again += len(again)
                        sender.send(again)
                elif isinstance(packet, rtcp.ReceiverReport):
                    self.reports += 1
        return wanted


async def record(house: House, camera: LossyCamera, count: int) -> tuple[list[RecordingRow], list[Frame]]:
    """So many pictures over the bad way, and a few over a good one at either end."""
    house.start_media()
    await house.until_state("recording")
    (way,) = camera.ways
    way.spared = False
    enough = len(camera.sent) + count
    await until(lambda: len(camera.sent) >= enough, True)
    way.spared = True
    enough = len(camera.sent) + 2 * GOP
    await until(lambda: len(camera.sent) >= enough, True)
    await house.stop_media()
    rows = await house.recordings()
    return rows, list(play([Path(row.root, row.path) for row in rows], 0, 1 << 60))


def numbered(camera: LossyCamera, frames: list[Frame]) -> dict[int, Frame]:
    """The recorded frames by the number of the picture that was sent: media time tells which is which."""
    steps = [(frame.time - frames[0].time) // TICKS for frame in frames]
    for first in range(len(camera.sent)):
        found = {first + step: frame for step, frame in zip(steps, frames, strict=True)}
        if all(as_sent(camera, number, frame) for number, frame in found.items() if not frame.damaged):
            return found
    raise AssertionError("what is not marked is not what was sent")


def as_sent(camera: LossyCamera, number: int, frame: Frame) -> bool:
    sent = camera.sent[number] if number < len(camera.sent) else []
    return [bytes(nal) for nal in frame.nals()][-len(sent) :] == sent


async def test_what_is_lost_is_marked_and_a_keyframe_asked_for(house: House) -> None:
    await house.add_camera()
    camera = await LossyCamera.make(house)
    rows, frames = await record(house, camera, 200)
    found = numbered(camera, frames)
    dropped = {parse(datagram).timestamp // TICKS for datagram in camera.ways[0].dropped}
    assert len(dropped) > 5
    keyframes = {number for number, frame in found.items() if frame.sync}
    broken, follows = False, min(found)
    for number, frame in found.items():
        missed = any(other not in found for other in range(follows, number))
        broken = number in dropped or ((broken or missed) and number not in keyframes)
        assert frame.damaged == broken, number
        follows = number + 1
    assert sum(row.damaged for row in rows) == sum(frame.damaged for frame in frames) > 0
    assert sum(row.lost for row in rows) == len(camera.ways[0].dropped)
    stretches = [one for row in rows for one in json.loads(row.damage)]
    assert sum(packets for *_, packets in stretches) == len(camera.ways[0].dropped)
    assert camera.keyframes_asked >= 1, "the chain is mended by a keyframe"
    assert camera.nacks >= 1


async def test_what_a_camera_sends_again_is_not_lost(house: House) -> None:
    await house.add_camera()
    camera = await LossyCamera.make(house)
    camera.answers_nack = True
    rows, frames = await record(house, camera, 200)
    found = numbered(camera, frames)
    assert camera.ways[0].dropped
    assert camera.sent_again >= 1
    numbers = list(found)
    assert numbers == sorted(numbers)
    # A packet sent again may be lost again.
    assert sum(row.lost for row in rows) < len(camera.ways[0].dropped) / 2
    whole = [number for number, frame in found.items() if not frame.damaged]
    assert len(whole) > len(numbers) / 2


async def test_calls_come_and_go_under_loss_without_a_trace_of_it(house: House) -> None:
    """A camera that hangs up in the middle of a loss is called again, and begins anew."""
    await house.add_camera()
    camera = await LossyCamera.make(house)
    house.start_media()
    await house.until_state("recording")
    camera.ways[0].spared = False
    await camera.hang_up()

    def again() -> list[Call]:
        return camera.calls[1:]

    await until(lambda: len(again()) == 1, True)
    enough = len(camera.sent) + 2 * GOP
    await until(lambda: len(camera.sent) >= enough, True)
    await house.stop_media()
    rows = await house.recordings()
    assert rows[-1].damaged == 0
    assert rows[-1].frames > 0
