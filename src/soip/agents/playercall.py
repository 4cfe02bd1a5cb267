"""One call of the player: INVITE, receive until it ends, hand back what was received."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from soip.agents.errors import PlayError
from soip.agents.receiving import AudioLeg, ReceivingLeg, VideoLeg
from soip.agents.recording import Recording
from soip.agents.station import Station, random_word
from soip.net.call import Call, CallEnd
from soip.net.errors import AuthError, FlowError, RequestRefusedError, RequestTimeoutError
from soip.net.multicast import open_heard
from soip.net.rtp import RtpSocketPair
from soip.net.rtpway import RtpWay, following
from soip.net.ua import UserAgent
from soip.rtp.errors import RtpParseError
from soip.rtp.nal import AccessUnit
from soip.rtp.sound import SoundFormat
from soip.sip.errors import OfferError, SdpError
from soip.sip.formats import ANY_SOUND, Audio, Video
from soip.sip.negotiation import Negotiation
from soip.sip.offer import Agreement, Local, Stream, make_offer, read_answer
from soip.sip.sdp import SessionDescription
from soip.sip.uri import Uri

EXIT_FAILED, EXIT_NOT_FOUND, EXIT_DENIED, EXIT_UNREACHABLE, EXIT_NO_MEDIA = 1, 3, 4, 5, 6

_TICK = 0.25
_FAREWELL = 2.0


@dataclass(frozen=True, slots=True)
class PlayStats:
    """What a call brought. Times in seconds; `first_packet` from the call's answer to its first RTP packet. `group` is
    the multicast group that pictures came by, if they did.
    """

    files: tuple[Path, ...]
    frames: int
    keyframes: int
    bytes: int
    seconds: float
    lost: int
    first_packet: float | None
    end: str
    group: str = ""


Progress = Callable[[Recording, int], None]
"""Called a few times a second with the recording and the number of packets lost."""


class PlayerCall:
    """`await run()` once. `duration` (media seconds) and `silence` (seconds without RTP) end the call."""

    def __init__(
        self,
        station: Station,
        agent: UserAgent,
        output: Path,
        *,
        duration: float | None,
        silence: float,
        progress: Progress,
        transport: str = "udp",
    ) -> None:
        self._station = station
        self._agent = agent
        self._output = output
        self._duration = duration
        self._silence = silence
        self._progress = progress
        self._transport = transport
        self._failure: OSError | None = None

    async def run(self, uri: Uri, within: float, stop: asyncio.Event) -> PlayStats:
        """Call `uri` and record until the peer hangs up, the duration is reached or `stop` is set.

        Raises PlayError, whose text tells the user what to do.
        """
        pairs = [self._station.open_way(self._over)]
        try:
            pairs.append(self._station.open_way(self._over))
            call, agreement = await self._invite(uri, within, pairs)
        except BaseException:
            for pair in pairs:
                pair.close()
            raise
        return await self._receive(call, agreement, pairs, stop)

    @property
    def _over(self) -> str:
        """What media goes over: by multicast it is UDP."""
        return "udp" if self._transport == "multicast" else self._transport

    async def _invite(self, uri: Uri, within: float, pairs: list[RtpWay]) -> tuple[Call, Agreement]:
        over, keys, asks = self._over, self._station.keys, self._transport == "multicast"
        video = Video(pairs[0].port, receives=True, transport=over, mux=True, srtp=keys(), multicast=asks)
        audio = Audio(pairs[1].port, ANY_SOUND, receives=True, transport=over, mux=True, srtp=keys(), multicast=asks)
        local = Local(self._station.host, random_word(), name="soip-player")
        offer = make_offer(local, [video, audio])
        try:
            call = await self._agent.invite(uri, offer.to_bytes(), within=within)
        except RequestRefusedError as error:
            raise _explained(error, uri) from error
        except RequestTimeoutError as error:
            raise PlayError(f"no answer from {self._agent.outbound.host}; check --server", EXIT_UNREACHABLE) from error
        except FlowError as error:
            raise PlayError(f"cannot reach {self._agent.outbound.host}: {error}", EXIT_UNREACHABLE) from error
        try:
            agreement = read_answer(offer, SessionDescription.parse(call.remote_sdp))
            if agreement.video is None:
                raise OfferError("no video")
            self._join(agreement, pairs)
            negotiation = Negotiation(local, [video, audio], offer, following(agreement, pairs))
            call.on_reinvite(negotiation.offered)
            call.on_answer(negotiation.answered)
        except (SdpError, OfferError) as error:
            await _hang_up(call, 'SIP;cause=488;text="unusable answer"')
            raise PlayError(f"the answer of {uri} is of no use: {error}", EXIT_NO_MEDIA) from error
        except OSError as error:
            await _hang_up(call)
            raise PlayError(f"cannot hear multicast on {self._station.host}: {error}", EXIT_NO_MEDIA) from error
        return call, agreement

    def _join(self, agreement: Agreement, pairs: list[RtpWay]) -> None:
        """Hear what comes by multicast where it comes, on the interface that faces the server. Raises OSError."""
        for at, stream in enumerate(agreement.streams):
            own = pairs[at]
            if stream is not None and stream.way.group is not None and isinstance(own, RtpSocketPair):
                pairs[at] = open_heard(own, stream.way.group, self._station.host)

    async def _receive(self, call: Call, agreement: Agreement, pairs: list[RtpWay], stop: asyncio.Event) -> PlayStats:
        answered = self._station.now()
        assert agreement.video is not None
        form = _format(agreement.audio)
        recording = Recording(
            self._output, agreement.video.parameter_sets, encoding=agreement.video.encoding, sound=form
        )
        video = VideoLeg(self._station, pairs[0], agreement.video, lambda unit: self._write(recording, unit))
        legs: list[ReceivingLeg] = [video]
        if agreement.audio is not None and form is not None:
            legs.append(AudioLeg(self._station, pairs[1], agreement.audio, form, recording.sound))
        else:
            pairs[1].close()
        try:
            end = await self._until_over(call, legs, recording, stop)
        finally:
            video.flush()
            for leg in legs:
                leg.close()
            self._guard(recording.close)
            await _hang_up(call)
        if self._failure is not None:
            raise PlayError(f"cannot write {self._output}: {self._failure.strerror}", EXIT_FAILED)
        group = agreement.video.way.group
        return self._stats(recording, video, answered, end, f"{group.address}:{group.port}" if group else "")

    def _write(self, recording: Recording, unit: AccessUnit) -> None:
        if self._failure is None and (self._duration is None or recording.seconds < self._duration):
            self._guard(lambda: recording.video(unit))

    def _guard(self, write: Callable[[], None]) -> None:
        """A full disk ends the call with words; where it shows first, the media poll would only log it."""
        try:
            write()
        except OSError as error:
            self._failure = self._failure or error

    async def _until_over(self, call: Call, legs: list[ReceivingLeg], recording: Recording, stop: asyncio.Event) -> str:
        over: asyncio.Future[CallEnd] = asyncio.get_running_loop().create_future()
        call.on_end(lambda end: None if over.done() else over.set_result(end))
        interrupt = asyncio.ensure_future(stop.wait())
        ends: list[asyncio.Future[Any]] = [over, interrupt]
        began = self._station.now()
        video = legs[0]
        try:
            while True:
                await asyncio.wait(ends, timeout=_TICK, return_when=asyncio.FIRST_COMPLETED)
                now = self._station.now()
                for leg in legs:
                    leg.tick(now)
                self._progress(recording, video.receiver.lost)
                if self._failure is not None:
                    return "cannot write"
                if over.done():
                    return _words_of(over.result().reason) or "the peer hung up"
                if video.trouble:
                    return video.trouble
                if interrupt.done():
                    return "interrupted"
                if self._duration is not None and recording.seconds >= self._duration:
                    return "duration reached"
                if now - (video.last_packet or began) > self._silence:
                    return f"no media for {self._silence:g} s"
        finally:
            interrupt.cancel()

    def _stats(self, recording: Recording, video: ReceivingLeg, answered: float, end: str, group: str) -> PlayStats:
        if not recording.frames:
            what = "no RTP packet came" if video.first_packet is None else "no whole keyframe came"
            hint = _HINTS["multicast" if group else self._over]
            raise PlayError(f"the call was answered, but {what} ({end}); {hint}", EXIT_NO_MEDIA)
        first = None if video.first_packet is None else video.first_packet - answered
        return PlayStats(
            files=tuple(recording.paths),
            frames=recording.frames,
            keyframes=recording.keyframes,
            bytes=recording.bytes,
            seconds=recording.seconds,
            lost=video.receiver.lost,
            first_packet=first,
            end=end,
            group=group,
        )


def _format(agreed: Stream | None) -> SoundFormat | None:
    """What the call's sound is coded with; None without any that we can keep."""
    if agreed is None:
        return None
    try:
        return SoundFormat.of(agreed.encoding, agreed.clock_rate, agreed.channels, agreed.fmtp)
    except RtpParseError:
        return None


def _words_of(reason: str) -> str:
    """The text of a Reason header (RFC 3326), or all of it."""
    text = reason.partition('text="')[2].rpartition('"')[0]
    return text or reason


async def _hang_up(call: Call, reason: str = "") -> None:
    """Say BYE, but do not sit out its 32 s of repeats (RFC 3261 §17.1.2.2) when the server has gone."""
    with suppress(TimeoutError):
        await asyncio.wait_for(call.bye(reason), _FAREWELL)


_HINTS = {
    "udp": "a firewall may block UDP: try --rtp tcp",
    "tcp": "nothing came over TCP",
    "multicast": "the network may not carry multicast to here: try --rtp udp",
}
_REFUSALS = {
    403: ("not permitted: check --user and --password, and that your role may watch this", EXIT_DENIED),
    404: ("not found: no such camera, or nothing recorded in that range", EXIT_NOT_FOUND),
    408: ("the camera or its media server does not answer", EXIT_UNREACHABLE),
    480: ("the camera is offline", EXIT_UNREACHABLE),
    486: ("busy: too many calls", EXIT_FAILED),
    488: ("no common codec", EXIT_NO_MEDIA),
    503: ("the server is overloaded or starting; try again", EXIT_UNREACHABLE),
    504: ("the media server does not answer", EXIT_UNREACHABLE),
}


def _explained(error: RequestRefusedError, uri: Uri) -> PlayError:
    """A refusal in the user's words, with what the server says in its Warning."""
    if isinstance(error, AuthError):
        return PlayError(f"{uri}: wrong user or password; check --user and --password", EXIT_DENIED)
    words, code = _REFUSALS.get(error.status, ("refused", EXIT_FAILED))
    return PlayError(f"{uri}: {words} ({error}{'; ' + error.said if error.said else ''})", code)
