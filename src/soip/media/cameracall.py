"""One call to a camera: INVITE, RTP in, reports out, until somebody hangs up."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from soip.directory.rows import CameraRow
from soip.media.context import Context, numeric
from soip.media.intake import AudioIntake, Intake, Picture, Sound, VideoIntake
from soip.media.journal import journal
from soip.media.programintake import ProgramIntake
from soip.media.request import address
from soip.media.tally import Tally
from soip.net.call import Call
from soip.net.rtpway import RtpWay, following
from soip.rtp import rtcp
from soip.rtp.codec import CODINGS
from soip.rtp.errors import RtpParseError
from soip.rtp.reception import Reception
from soip.rtp.sound import SoundFormat
from soip.sip.errors import OfferError
from soip.sip.formats import ANY_SOUND, PROGRAM, Audio, Video
from soip.sip.negotiation import Negotiation
from soip.sip.offer import Agreement, Local, Stream, make_offer, read_answer
from soip.sip.sdp import SessionDescription
from soip.sip.uri import Uri

WARY_S = 10.0
"""So long after packets have been missing, those that are sent again are waited for."""
KEYFRAME_S = 2.0
"""At most one request for a keyframe in this time."""
_CALL_ID = re.compile(r"[!-+\--~]{1,256}")  # somebody's words: what a camera could stumble over does not reach it
DISCARD_PORT = 9
"""Where sound nobody wants would go: phones refuse a call without audio, so it is offered, but inactive."""

_log = structlog.get_logger()


class _Leg:
    """One media part of the call: its sockets, and what is reported about it."""

    def __init__(self, context: Context, pair: RtpWay, stream: Stream, intake: Intake) -> None:
        self.pair, self.stream, self.intake = pair, stream, intake
        self.ssrc = secrets.randbits(32)
        self.dropped = 0
        """Datagrams the kernel dropped for want of buffer, as of the last look."""
        self._told_damage = 0
        self._context = context
        self._reception = Reception(intake.receiver)
        for host, _ in (stream.remote, stream.remote_rtcp):
            numeric(host)
        # Only the negotiated host may send.
        pair.hear(stream)
        pair.watch(context.poll, self.read, self._control)

    def read(self) -> None:
        """Take what has come."""
        self.intake.readable(self.pair, self._context.buffer, self._context.now())

    def send(self, *packets: rtcp.Packet) -> None:
        block = self._reception.block(self._context.now())
        report = rtcp.ReceiverReport(self.ssrc, (block,) if block else ())
        cname = rtcp.SourceDescription(self.ssrc, f"{self._context.instance}@{self._context.domain}")
        self.pair.send_control(rtcp.build([report, cname, *packets]))

    def drops(self) -> int:
        """Return how many datagrams the kernel has dropped since the last look: this process was too slow for them."""
        before, self.dropped = self.dropped, self.pair.kernel_drops()
        return self.dropped - before

    def damage(self) -> int:
        """Return how many bytes of the stream were no packets, if that has doubled since it was last told: a camera
        that goes on like that does not fill the log.
        """
        if self.pair.damaged <= 2 * self._told_damage:
            return 0
        self._told_damage = self.pair.damaged
        return self._told_damage

    def close(self) -> None:
        self.pair.close()

    def _control(self) -> None:
        for datagram in self.pair.drain_control(self._context.buffer):
            try:
                packets = rtcp.parse(datagram)
            except RtpParseError:
                continue
            for packet in packets:
                if isinstance(packet, rtcp.SenderReport):
                    self._reception.sender_report(packet, self._context.now() - self.pair.control_age)
                    if packet.ssrc == self.intake.receiver.ssrc:
                        self.intake.sender_report(packet)


class CameraCall:
    """A call that is up. Made by `place`; ends by `hang_up` or by the camera; `ended` tells why."""

    def __init__(self, context: Context, camera: CameraRow, call: Call, video: _Leg, audio: _Leg | None) -> None:
        self.call = call
        self.video = video
        self.audio = audio
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.started = context.now()
        self._context = context
        self._log = _log.bind(camera=camera.id)
        self._camera = camera
        self._next_report = context.now()
        self._keyframe_asked = -KEYFRAME_S
        self._fir_number = 0
        self._wary_until = 0.0
        if "nack" in video.stream.feedback and isinstance(video.intake, VideoIntake | ProgramIntake):
            video.intake.receiver.ask_again()
            video.intake.ask = self._ask_again
        journal(context, camera.id, call, video.pair.port)
        call.on_end(lambda end: self._ended(end.reason))

    @classmethod
    async def place(
        cls,
        context: Context,
        camera: CameraRow,
        stream: str,
        picture: Callable[[Picture], None],
        sound: Callable[[Sound], None],
        serves: str = "",
        *,
        secure: bool = False,
    ) -> CameraCall:
        """Call a camera for one of its streams, for the sake of the call whose Call-ID is `serves` if there is one;
        `secure`: by SRTP. Raises NetError (refused, timed out, no way), OfferError (an answer we cannot use),
        PortsExhaustedError, SipParseError; nothing is left open then.
        """
        if secure and camera.transport != "udp":
            raise OfferError("media is to be SRTP, which goes over UDP: have the camera added with --transport udp")
        pairs = [context.open_way(camera.transport)]
        try:
            if camera.audio:
                pairs.append(context.open_way(camera.transport))
            local = Local(context.address, context.session_id())
            over = camera.transport
            keys = context.keys if secure else lambda: None
            media: list[Video | Audio] = [
                Video(pairs[0].port, receives=True, program=True, transport=over, mux=True, srtp=keys())
            ]
            media += [
                Audio(pair.port, ANY_SOUND, receives=True, transport=over, mux=True, srtp=keys()) for pair in pairs[1:]
            ] or [Audio(DISCARD_PORT, srtp=keys())]
            offer = make_offer(local, media)
            uri = Uri("sip", address(camera.id, stream), context.domain)
            # RFC 3261 §20.21: which call this one refers to, so that a trace can show the two together.
            headers = [("In-Reply-To", serves)] if _CALL_ID.fullmatch(serves) else []
            call = await context.agent.invite(uri, offer.to_bytes(), headers=headers, within=context.patience.setup_s)
            try:
                agreement = read_answer(offer, SessionDescription.parse(call.remote_sdp))
                negotiation = Negotiation(local, media, offer, _unchanged(agreement, pairs))
                call.on_reinvite(negotiation.offered)
                call.on_answer(negotiation.answered)
                return cls._connected(context, camera, call, agreement, pairs, picture, sound)
            except BaseException as error:
                await cls._bye(context, call, 488, str(error))
                raise
        except BaseException:
            for pair in pairs:
                pair.close()
            raise

    @classmethod
    def _connected(
        cls,
        context: Context,
        camera: CameraRow,
        call: Call,
        agreement: Agreement,
        pairs: list[RtpWay],
        picture: Callable[[Picture], None],
        sound: Callable[[Sound], None],
    ) -> CameraCall:
        stream = agreement.video
        if stream is None or not stream.receives:
            raise OfferError("the camera offers no video")
        intake, video_in = _video(context, camera, agreement, stream, picture, sound)
        video = _Leg(context, pairs[0], stream, intake)
        try:
            audio = cls._audio(context, camera, agreement.audio, pairs, sound, video_in)
            return cls(context, camera, call, video, audio)
        except BaseException:
            video.close()
            raise

    @staticmethod
    def _audio(
        context: Context,
        camera: CameraRow,
        heard: Stream | None,
        pairs: list[RtpWay],
        sound: Callable[[Sound], None],
        video: VideoIntake,
    ) -> _Leg | None:
        if len(pairs) < 2:
            return None
        form: SoundFormat | None = None
        if heard is not None and heard.receives:
            try:
                form = _format(heard)
            except RtpParseError as error:
                _log.warning("the camera's sound cannot be taken", camera=camera.id, reason=str(error))
        if heard is None or form is None:
            pairs.pop().close()
            return None
        return _Leg(context, pairs[1], heard, AudioIntake(heard.payload_type, form, context.wall, sound, video))

    @property
    def intake(self) -> VideoIntake:
        """The video's way in."""
        intake = self.video.intake
        if isinstance(intake, ProgramIntake):
            return intake.video
        assert isinstance(intake, VideoIntake)
        return intake

    def tally(self) -> Tally:
        """What was counted of this call so far."""
        total = Tally()
        for leg in filter(None, (self.video, self.audio)):
            receiver = leg.intake.receiver
            received, lost, late = receiver.counted
            malformed = receiver.malformed + receiver.broken_payloads
            total.add(Tally(received, lost, late, receiver.foreign + leg.pair.foreign, malformed, leg.dropped))
            if receiver.requests is not None:
                total.add(Tally(asked=receiver.requests.asked, answered=receiver.requests.answered))
        return total

    @property
    def sound(self) -> SoundFormat | None:
        """What its sound is coded with, when the camera sends any."""
        intake = self.audio.intake if self.audio else self.video.intake
        return intake.format if isinstance(intake, AudioIntake | ProgramIntake) else None

    @property
    def silent_s(self) -> float:
        """Seconds since the last picture, or since the call was set up."""
        return self._context.now() - (self.intake.last_arrival or self.started)

    @property
    def trouble(self) -> str:
        """Why no media can come any more; "" as long as it can."""
        now = self._context.now()
        return next(filter(None, (leg.pair.trouble(now) for leg in (self.video, self.audio) if leg)), "")

    @property
    def shown(self) -> bool:
        """Whether it ever brought a picture."""
        return self.intake.last_arrival is not None

    def tick(self) -> None:
        """Once a second: reports that are due, and a keyframe if nothing can be decoded yet."""
        now = self._context.now()
        for leg in filter(None, (self.video, self.audio)):
            if not self.ended.done() and (drops := leg.drops()):
                self._log.warning("media dropped by this machine", packets=drops, effect="pictures are missing")
            if not self.ended.done() and (damage := leg.damage()):
                self._log.warning("the camera's stream is damaged", skipped_bytes=damage, effect="pictures are missing")
        if now >= self._next_report:
            self._next_report = now + self._context.patience.report_s
            for leg in filter(None, (self.video, self.audio)):
                leg.send()
        if self.intake.codec is None:
            self.ask_keyframe()

    def rest(self, resting: bool) -> None:
        """Nobody is watching: what comes need not be read at once; or somebody is. To be said once a second as well.

        Where sound comes by itself it is read at once in any case, as pictures are, since one is placed beside the
        other; and so is what comes while packets are asked for again.
        """
        self.video.pair.rest(resting and self.audio is None and self._context.now() >= self._wary_until)

    def ask_keyframe(self) -> None:
        """Ask the camera for a keyframe, at most every `KEYFRAME_S`: by FIR where the camera named it, else by PLI."""
        now = self._context.now()
        ssrc = self.video.intake.receiver.ssrc
        if ssrc is None or now - self._keyframe_asked < KEYFRAME_S:
            return
        self._keyframe_asked = now
        feedback = self.video.stream.feedback
        if "ccm fir" in feedback and "nack pli" not in feedback:
            self._fir_number = (self._fir_number + 1) & 0xFF
            self.video.send(rtcp.FullIntraRequest(self.video.ssrc, ((ssrc, self._fir_number),)))
        else:
            self.video.send(rtcp.PictureLossIndication(self.video.ssrc, ssrc))

    def _ask_again(self, sequences: list[int]) -> None:
        ssrc = self.video.intake.receiver.ssrc
        if ssrc is not None and not self.ended.done():
            self._wary_until = self._context.now() + WARY_S
            self.rest(False)
            self.video.send(rtcp.Nack(self.video.ssrc, ssrc, tuple(sequences)))

    def restart_clocks(self) -> None:
        """The wall clock was stepped."""
        for leg in filter(None, (self.video, self.audio)):
            leg.intake.restart_clock()

    async def hang_up(self, reason: str) -> None:
        """End the call. Idempotent. Waits a moment for the answer; the BYE is repeated without us."""
        self._over(reason)
        await self._bye(self._context, self.call, 200, reason)

    @staticmethod
    async def _bye(context: Context, call: Call, cause: int, reason: str) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(context.patience.farewell_s):
                await call.bye(f'SIP;cause={cause};text="{_quotable(reason)}"')

    def catch_up(self) -> None:
        """Take what has come and waits to be read, before the call is over: which it is, whatever becomes of this."""
        if self.ended.done():
            return
        try:
            self.video.read()
        except Exception:
            self._log.exception("what came last in a call could not be taken")

    def _ended(self, reason: str) -> None:
        self.catch_up()
        self._over(reason)

    def _over(self, reason: str) -> None:
        if self.ended.done():
            return
        self.ended.set_result(reason)
        for leg in filter(None, (self.video, self.audio)):
            leg.close()


def _format(heard: Stream) -> SoundFormat:
    """Raises RtpParseError for sound that we cannot take."""
    return SoundFormat.of(heard.encoding, heard.clock_rate, heard.channels, heard.fmtp)


def _format_or_none(heard: Stream | None) -> SoundFormat | None:
    try:
        return _format(heard) if heard is not None else None
    except RtpParseError:
        return None


def _video(
    context: Context,
    camera: CameraRow,
    agreement: Agreement,
    stream: Stream,
    picture: Callable[[Picture], None],
    sound: Callable[[Sound], None],
) -> tuple[Intake, VideoIntake]:
    """The way in of the video part, and that of the pictures in it. In a program stream there is sound as well, unless
    the camera sends that by itself.
    """
    types = stream.receive_types
    if stream.encoding == PROGRAM:
        apart = agreement.audio is not None and agreement.audio.receives
        wanted = sound if camera.audio and not apart else None
        program = ProgramIntake(stream.payload_type, context.wall, picture, wanted, types)
        return program, program.video
    coding = CODINGS[stream.encoding]
    video = VideoIntake(stream.payload_type, stream.parameter_sets, context.wall, picture, types, coding)
    return video, video


def _unchanged(agreed: Agreement, pairs: Sequence[RtpWay]) -> Callable[[Agreement], None]:
    """Media may pause and go on in the call, but neither move nor be coded in another way: that takes a new call, and
    with it a new file.
    """
    still = following(agreed, pairs)
    before = _format_or_none(agreed.audio)

    def check(agreement: Agreement) -> None:
        now = agreement.audio
        if before is not None and now is not None and now.receives and _format_or_none(now) != before:
            raise OfferError("sound cannot change its encoding in this call; call anew")
        still(agreement)

    return check


def _quotable(text: str) -> str:
    return text.replace("\\", "").replace('"', "'").replace("\r", " ").replace("\n", " ")
