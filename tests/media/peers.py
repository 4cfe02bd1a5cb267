"""A camera and a viewer whose every step the test decides, over real SIP and RTP."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Self

from soip.net.call import Call, IncomingCall
from soip.net.multicast import open_heard
from soip.net.poll import MediaPoll
from soip.net.ports import PortPairs
from soip.net.rtp import DATAGRAM_SIZE, Peer, RtpSocketPair, open_pair
from soip.net.ua import UserAgent
from soip.rtp import rtcp
from soip.rtp.aac import format_fmtp
from soip.rtp.codec import CODINGS
from soip.rtp.errors import RtpParseError
from soip.rtp.nal import PACKET_SIZE, AccessUnit, packetise
from soip.rtp.packet import RtpPacket, build
from soip.rtp.receiver import AudioFrame, AudioReceiver, VideoReceiver
from soip.rtp.sender import SendStream
from soip.rtp.sound import PCMU, SoundFormat
from soip.sip.errors import OfferError
from soip.sip.formats import Aac, Audio, Capability, Video
from soip.sip.headers import Replaces
from soip.sip.offer import Agreement, Local, Stream, answer_offer, make_offer, read_answer
from soip.sip.sdes import Srtp
from soip.sip.sdp import SessionDescription
from soip.sip.uri import Uri
from tests.media.house import DOMAIN, PATIENT_S, House, now_us, until
from tests.media.sounds import tone
from tests.mp4.material import video

RATE = 25
GOP = 25
SIDES, SUB_SIDES = (320, 240), (160, 128)
PORTS = PortPairs(32_200, 32_700, quarantine=0.0)


def _now() -> float:
    return asyncio.get_running_loop().time()


class Camera:
    """Answers calls and sends real H.264, 25 pictures a second, a keyframe each second.

    `sends` and `answers` may be changed at any time: `answers` is 200, a status to refuse with, 0 to hang up at once,
    or a number below zero not to answer at all; `answers_sub` is the same for its sub-stream, a smaller picture.
    """

    def __init__(self, house: House, agent: UserAgent, *, sound: bool = False, speaks: SoundFormat = PCMU) -> None:
        self.house, self.agent, self.sound, self.speaks = house, agent, sound, speaks
        self.encoding = "H264"
        self.sends = True
        self.ahead_us: int | None = None
        """How far its own clock is ahead, where its sender reports are to tell."""
        self.answers = self.answers_sub = 200
        self.calls: list[Call] = []
        self.subs: list[Call] = []
        """Those of the calls in which the sub-stream is shown."""
        self.users: list[str] = []
        """The user parts it was called by."""
        self.asked: list[float] = []
        """When it was called."""
        self.sent_at = 0.0
        """When it last sent a picture."""
        self.offers: list[SessionDescription] = []
        self.keys: Callable[[], Srtp | None] = lambda: None
        """Those of its SRTP, if it does any."""
        self.keyframes_asked = 0
        self.reports = 0

    @classmethod
    async def make(
        cls,
        house: House,
        name: str = "cam1",
        *,
        registers: bool = True,
        sound: bool = False,
        speaks: SoundFormat = PCMU,
        tls: bool = False,
    ) -> Self:
        camera = cls(house, await house.agent(name, "secret", tls=tls), sound=sound, speaks=speaks)
        camera.agent.on_invite(camera._take)
        if registers:
            await camera.agent.register(60)
        return camera

    @property
    def up(self) -> int:
        """Calls that are up."""
        return sum(call.end is None for call in self.calls)

    async def hang_up(self) -> None:
        for call in self.calls:
            await call.bye('SIP;cause=200;text="the camera reboots"')

    async def _take(self, incoming: IncomingCall) -> None:
        self.asked.append(_now())
        self.users.append(incoming.user)
        sub = incoming.user.endswith(";stream=sub")
        answers = self.answers_sub if sub else self.answers
        self.offers.append(SessionDescription.parse(incoming.offer))
        if answers < 0:
            await asyncio.Event().wait()
        if answers > 200:
            incoming.reject(answers)
            return
        pairs = [open_pair(PORTS, "127.0.0.1", _now) for _ in range(2)]
        try:
            media: list[Capability] = [Video(pairs[0].port, self.encoding, sends=True, srtp=self.keys())]
            if self.sound:
                media.append(replace(speaker(pairs[1].port, self.speaks), srtp=self.keys()))
            try:
                agreement = answer_offer(self.offers[-1], Local("127.0.0.1", 1), media)
            except OfferError as error:
                incoming.reject(error.status, error.what)
                return
            assert agreement.answer is not None
            call = incoming.answer(agreement.answer.to_bytes())
            await call.confirmed()
            self.calls.append(call)
            if sub:
                self.subs.append(call)
            if answers == 0:
                await call.bye()
                return
            over = asyncio.Event()
            call.on_end(lambda _end: over.set())
            await self._send(agreement, pairs, over, SUB_SIDES if sub else SIDES)
        finally:
            for pair in pairs:
                pair.close()

    async def _send(
        self, agreement: Agreement, pairs: list[RtpSocketPair], over: asyncio.Event, sides: tuple[int, int]
    ) -> None:
        stream = agreement.video
        assert stream is not None
        for pair, part in zip(pairs, agreement.streams, strict=False):
            if part is not None:
                pair.connect(Peer(*part.remote), Peer(*part.remote_rtcp))
                pair.secure(part.srtp)
        sender = pairs[0].sender(PACKET_SIZE, lambda: None)
        numbered = SendStream(
            stream.payload_type, random.getrandbits(32), random.getrandbits(16), random.getrandbits(32)
        )
        frames, coding = shown(stream.encoding, sides), CODINGS[stream.encoding]
        began, number, key_at = _now(), 0, 0
        while not over.is_set():
            if self._wants_keyframe(pairs[0], numbered.ssrc):
                key_at = number
            if self.sends:
                self.sent_at = _now()
                sender.send(numbered.stamp(packetise(coding, frames[(number - key_at) % 100]), number * 3600))
                if agreement.audio is not None and self.sound:
                    self._speak(pairs[1], agreement, number)
            if self.ahead_us is not None and number % RATE == 1:
                ntp = rtcp.us_to_ntp(now_us() + self.ahead_us)
                report = rtcp.SenderReport(numbered.ssrc, ntp, numbered.timestamp or 0, 0, 0)
                pairs[0].send_control(rtcp.build([report, rtcp.SourceDescription(numbered.ssrc, "camera")]))
            number += 1
            await asyncio.sleep(max(0.0, began + number / RATE - _now()))

    def _wants_keyframe(self, pair: RtpSocketPair, ssrc: int) -> bool:
        wanted = False
        for datagram in pair.drain_control(memoryview(bytearray(2048))):
            for packet in rtcp.parse(datagram):
                if isinstance(packet, rtcp.PictureLossIndication) and packet.media_ssrc == ssrc:
                    self.keyframes_asked += 1
                    wanted = True
                elif isinstance(packet, rtcp.ReceiverReport):
                    self.reports += 1
        return wanted

    def _speak(self, pair: RtpSocketPair, agreement: Agreement, number: int) -> None:
        assert agreement.audio is not None
        if not self.speaks.is_g711:
            self._speak_coded(pair, agreement.audio, number)
            return
        for half in (2 * number, 2 * number + 1):
            payload = bytes(0x80 | (half * 160 + at) * 5 & 0x7F for at in range(160))
            packet = RtpPacket(agreement.audio.payload_type, not half, half & 0xFFFF, half * 160, 77, payload)
            with suppress(ConnectionError):  # nobody listens (any more)
                pair.send_packet(build(packet))

    def _speak_coded(self, pair: RtpSocketPair, stream: Stream, number: int) -> None:
        """What is due up to the end of picture `number`: a tone, in frames as they are."""
        frames = tone(self.speaks)
        length = self.speaks.samples(frames[0])
        first, end = (-(-at * self.speaks.clock_rate // RATE // length) for at in (number, number + 1))
        for count in range(first, end):
            payload = self.speaks.packetise(frames[count % len(frames)], 1400)[0]
            packet = RtpPacket(stream.payload_type, True, count & 0xFFFF, count * length & 0xFFFFFFFF, 77, payload)
            pair.rtp.sendto(build(packet), stream.remote)


def shown(encoding: str = "H264", sides: tuple[int, int] = SIDES) -> list[list[bytes]]:
    """What a camera sends, over and over."""
    return video(100, GOP, 0, *sides, encoding=encoding).frames


def speaker(port: int, form: SoundFormat) -> Audio:
    """The capability of a camera that speaks so."""
    aac = Aac(form.clock_rate, form.channels, format_fmtp(form.config.config)) if form.config else None
    return Audio(port, (form.encoding,), sends=True, aac=aac)


class Viewer:
    """Calls an address and collects what is shown."""

    def __init__(self, house: House, agent: UserAgent) -> None:
        self.agent = agent
        self.pictures: list[AccessUnit] = []
        self.sound: list[AudioFrame] = []
        self.control: list[rtcp.Packet] = []
        self.agreement: Agreement
        self.call: Call
        self.pairs: list[RtpSocketPair] = []
        self.receiver: VideoReceiver
        self._poll = MediaPoll(asyncio.get_running_loop())
        self._buffer = memoryview(bytearray(DATAGRAM_SIZE))
        house.at_the_end(self._close)

    @classmethod
    async def make(cls, house: House, name: str = "ann", *, tls: bool = False) -> Self:
        return cls(house, await house.agent(name, f"{name}-sip", tls=tls))

    async def dial(
        self,
        user: str = "cam1",
        *,
        audio: bool = False,
        hears: tuple[str, ...] = ("PCMU", "PCMA"),
        video: bool = True,
        delayed: bool = False,
        change: tuple[str, str] | None = None,
        replaces: Replaces | None = None,
        keys: Callable[[], Srtp | None] = lambda: None,
        multicast: bool = False,
    ) -> Self:
        """Call; `change` replaces something in our SDP, `keys` are those of SRTP, `multicast` asks for that. Raises
        what `invite` does.
        """
        for pair in self.pairs:
            self._poll.remove(pair.rtp)
            self._poll.remove(pair.rtcp)
            pair.close()
        self.pairs = [open_pair(PORTS, "127.0.0.1", _now) for _ in range(2)]
        media: list[Capability] = []
        if video:
            media.append(Video(self.pairs[0].port, receives=True, srtp=keys(), multicast=multicast))
        if audio:
            media.append(Audio(self.pairs[1].port, hears, receives=True, srtp=keys(), multicast=multicast))
        local = Local("127.0.0.1", 2)
        ours = make_offer(local, media)
        uri = Uri.parse(f"sip:{user}@{DOMAIN}")
        answers: list[Agreement] = []

        def answer(offer: bytes) -> bytes:
            answers.append(answer_offer(SessionDescription.parse(offer), local, media))
            assert answers[0].answer is not None
            return answers[0].answer.to_bytes()

        try:
            body = b"" if delayed else str(ours).replace(*(change or ("", ""))).encode()
            headers = [("Replaces", str(replaces))] if replaces else []
            self.call = await self.agent.invite(
                uri, body, headers=headers, within=PATIENT_S, answerer=answer if delayed else None
            )
        except BaseException:
            for pair in self.pairs:
                pair.close()
            raise
        self.agreement = answers[0] if delayed else read_answer(ours, SessionDescription.parse(self.call.remote_sdp))
        self._listen()
        return self

    def _listen(self) -> None:
        shown, heard = self.agreement.video, self.agreement.audio
        for at, stream in enumerate((shown, heard)):
            if stream is not None and stream.way.group is not None:
                self.pairs[at] = group = open_heard(self.pairs[at], stream.way.group, "127.0.0.1")
                group.hear(stream)
        if shown is not None:
            receiver = self.receiver = VideoReceiver(shown.payload_type, (), CODINGS[shown.encoding])
            if shown.way.group is None:
                self.pairs[0].allow([shown.remote[0]])
            self.pairs[0].secure(shown.srtp)
            self._poll.add(self.pairs[0].rtp, lambda: self._picture(receiver))
            self._poll.add(self.pairs[0].rtcp, self._report)
        if heard is not None:
            listener = SoundFormat.of(heard.encoding, heard.clock_rate, heard.channels, heard.fmtp).receiver(
                heard.payload_type
            )
            if heard.way.group is None:
                self.pairs[1].allow([heard.remote[0]])
            self.pairs[1].secure(heard.srtp)
            self._poll.add(self.pairs[1].rtp, lambda: self._heard(listener))

    def _picture(self, receiver: VideoReceiver) -> None:
        self.pictures += self.pairs[0].drain(receiver, self._buffer, _now())

    def _heard(self, receiver: AudioReceiver) -> None:
        self.sound += self.pairs[1].drain(receiver, self._buffer, _now())

    def _report(self) -> None:
        for datagram in self.pairs[0].drain_control(self._buffer):
            try:
                self.control += rtcp.parse(datagram)
            except RtpParseError:
                raise AssertionError(f"not RTCP: {datagram!r}") from None

    async def see(self, count: int, within: float = PATIENT_S) -> list[AccessUnit]:
        """So many more pictures than have come."""
        seen = len(self.pictures)
        await until(lambda: len(self.pictures) >= seen + count, True, within)
        return self.pictures[seen:]

    async def ended(self, within: float = PATIENT_S) -> str:
        """The reason the other side gave when it hung up."""
        await until(lambda: self.call.end is not None, True, within)
        assert self.call.end is not None
        return self.call.end.reason

    def ask_keyframe(self) -> None:
        stream = self.agreement.video
        assert stream is not None
        packets: list[rtcp.Packet] = [rtcp.ReceiverReport(5, ()), rtcp.PictureLossIndication(5, 1)]
        self.pairs[0].send_control(rtcp.build(packets), Peer(*stream.remote_rtcp))

    def ask_again(self) -> None:
        """Ask for a packet that has come already: that it comes again is seen by `receiver.late`."""
        stream = self.agreement.video
        assert stream is not None
        assert self.receiver.ssrc is not None
        nack = rtcp.Nack(5, self.receiver.ssrc, (self.receiver.highest & 0xFFFF,))
        self.pairs[0].send_control(rtcp.build([rtcp.ReceiverReport(5, ()), nack]), Peer(*stream.remote_rtcp))

    def _close(self) -> None:
        self._poll.close()
        for pair in self.pairs:
            pair.close()
