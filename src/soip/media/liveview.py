"""One viewer of live pictures by RTP: a phone, a player, a video wall."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING

import structlog

from soip.media.audioleg import AudioLeg
from soip.media.camerastream import CameraStream
from soip.media.context import Context
from soip.media.outleg import OutLeg
from soip.media.relay import Viewer
from soip.media.viewlink import ViewLink
from soip.net.rtpway import RtpWay
from soip.policy.throttle import Share
from soip.rtp import rtcp
from soip.rtp.nal import PACKET_SIZE
from soip.rtp.sender import SendStream
from soip.rtp.sound import G711, SoundFormat
from soip.sip.errors import OfferError
from soip.sip.offer import Agreement, Stream

if TYPE_CHECKING:
    from soip.media.multicast import Seats

_log = structlog.get_logger()


class LiveView:
    """Joins the stream's relay when made; `close` leaves it. `tick` once a second; `gone` then tells whether to end it.

    What was agreed to go to multicast groups is joined at its `seats`; the viewer's own sockets then only hear what it
    says. Raises OfferError, OSError for media addresses that cannot be used; nothing is left open then.
    """

    def __init__(
        self,
        context: Context,
        camera: CameraStream,
        agreement: Agreement,
        pairs: list[RtpWay],
        seats: Seats | None = None,
    ) -> None:
        self._context = context
        self._camera = camera
        self._pictures = camera
        """Whose pictures it is shown: the sub-stream's, where it does not bear the main one's (`stepdown`)."""
        self._told = Share.ALL
        self._video: OutLeg | None = None
        self._viewer: Viewer | None = None
        self._audio: AudioLeg | None = None
        self._numbering: SendStream | None = None
        self._link = ViewLink(context.now())
        self._pairs = pairs
        self._seats = seats
        self._shares = False
        """Pictures go to it by a group."""
        self._agreement = agreement
        try:
            self._join(agreement)
        except BaseException:
            self.close()
            raise

    def direct(self, agreement: Agreement) -> None:
        """Go on as was agreed anew: hold, resume, another address (RFC 3264 §8). Raises OfferError, and then goes on as
        before.
        """
        if agreement.streams == self._agreement.streams:
            return  # a refresh of the session alone
        self._leave()
        try:
            self._join(agreement)
        except (OfferError, OSError) as error:
            self._leave()
            self._join(self._agreement)
            raise OfferError(f"no way to your media address: {error}") from error
        self._agreement = agreement

    def _join(self, agreement: Agreement) -> None:
        stream, heard = agreement.video, agreement.audio
        if stream is not None and stream.sends:
            if self._video is None:
                self._video = OutLeg(self._context, self._pairs[0], stream, self._keyframe, self._heed)
            elif not _names_group(stream):
                self._video.direct(stream)
            if stream.way.group is None:
                self._link = ViewLink(self._context.now())
                self._serve(stream)
            elif self._seats is not None:
                self._seats.join("video")
                self._shares = True
        if heard is not None and heard.sends and len(self._pairs) > 1:
            if self._audio is None:
                self._audio = AudioLeg(self._context, self._pairs[1], heard)
            elif not _names_group(heard):
                self._audio.direct(heard)
            if heard.way.group is None:
                self._listen(self._audio)
            elif self._seats is not None:
                self._seats.join("audio")

    def _serve(self, stream: Stream) -> None:
        """Send pictures to the viewer's own address."""
        self._viewer = Viewer(
            self._pairs[0].sender(PACKET_SIZE, self._lost),
            stream.payload_type,
            asks="nack" in stream.feedback,
            pace=self._pace_soon,
        )
        if self._numbering is not None:
            self._numbering.payload_type = stream.payload_type
        self._pictures.relay.join(self._viewer, self._context.now(), self._numbering)
        self._pace_soon()

    @property
    def share(self) -> Share:
        """What it is to be sent, by what it reports."""
        return self._link.share

    def offer_smaller(self, there: bool) -> None:
        """Whether there is a sub-stream to show it."""
        self._link.offer_smaller(there, self._context.now())

    def show(self, pictures: CameraStream) -> None:
        """Go on with the pictures of another stream of the camera, in the same numbering; sound stays as it is."""
        if pictures is self._pictures:
            return
        stream, served = self._agreement.video, self._viewer is not None
        self._stop_pictures()
        self._pictures = pictures
        if stream is not None and served:
            self._serve(stream)
            self._thin()

    def _stop_pictures(self) -> None:
        if self._viewer:
            # Copied: others of its class go on with the original.
            self._numbering = copy(self._viewer.stream)
            self._pictures.relay.leave(self._viewer)
            self._viewer = None

    def _leave(self) -> None:
        self._stop_pictures()
        if self._audio:
            self._camera.telephone.leave(self._audio.send)
            self._camera.sounds.discard(self._audio.send)
        if self._seats:
            self._seats.leave()
            self._shares = False

    def _listen(self, leg: AudioLeg) -> None:
        if leg.stream.encoding in G711:
            self._camera.telephone.join(leg.send, SoundFormat(leg.stream.encoding))
        else:
            self._camera.sounds.add(leg.send)

    def tick(self) -> float | None:
        """Reports that are due; gives when the viewer's last report came."""
        legs: list[OutLeg] = []
        if self._video and self._viewer and (stream := self._viewer.stream):
            timestamp, utc_us = stream.timestamp, None
            if timestamp is not None and self._pictures.relay.begun:
                newest = self._pictures.relay.newest
                timestamp, utc_us = newest.pts + stream.offset, newest.utc_us
            self._video.report(stream.ssrc, timestamp, stream.packets, stream.octets, utc_us)
            refused = self._viewer.sender.refused + self._pairs[0].refused
            self._link.sending(stream.packets, refused, self._context.now())
            legs.append(self._video)
        if self._seats:
            self._seats.tick()
            if self._video and self._shares:
                legs.append(self._video)
        if self._audio:
            self._audio.report()
            legs.append(self._audio.leg)
        return max((leg.heard for leg in legs if leg.heard is not None), default=None)

    @property
    def trouble(self) -> str:
        """Why the call is to end: nobody is there any more, or the way is too bad. Empty while it is not to."""
        now = self._context.now()
        troubles = (pair.trouble(now) for pair in self._pairs)
        return next(filter(None, troubles), "") or (self._link.gone(now) if self._viewer else "")

    def _lost(self) -> None:
        """A part of the stream was dropped because the viewer is too slow for it: it goes on at the next keyframe."""
        if self._viewer:
            self._viewer.broken = True
        self._pictures.ask_keyframe()

    def close(self) -> None:
        """Leave the relay and close what was opened. The pairs are the caller's to close again."""
        self._leave()
        if self._video:
            self._video.close()
        if self._audio:
            self._audio.leg.close()

    def _keyframe(self) -> None:
        """The viewer asks for one. One for whom the stream is too much gets those that come anyway."""
        if self._shares or (self._viewer is not None and not self._viewer.thinned):
            self._pictures.ask_keyframe()

    def _heed(self, packets: Sequence[rtcp.Packet]) -> None:
        """What the viewer says of our stream."""
        viewer, video = self._viewer, self._video
        if viewer is None or video is None or (stream := viewer.stream) is None:
            return
        now = self._context.now()
        for packet in packets:
            if isinstance(packet, rtcp.Nack) and packet.media_ssrc == stream.ssrc:
                viewer.answer(self._link.answers, packet.sequences, self._link.rtt, now)
            elif isinstance(packet, rtcp.SenderReport | rtcp.ReceiverReport):
                for block in packet.blocks:
                    if block.ssrc == stream.ssrc:
                        share = self._link.block(block, video.ntp(block.last_sr), now)
                        viewer.distant = self._link.distant
                        self._thin()
                        if share is not self._told:
                            self._told = share
                            _log.info("a viewer gets what it can bear", gets=share.value, address=video.stream.remote)

    def _thin(self) -> None:
        """Of the main stream, who does not bear all gets keyframes, also until the sub-stream is there."""
        if self._viewer is not None:
            less = self._pictures is self._camera and self.share is not Share.ALL
            self._pictures.relay.thin(self._viewer, less)

    def _pace_soon(self) -> None:
        viewer = self._viewer
        if viewer and viewer.waiting:
            self._context.loop.call_later(viewer.interval, self._pace, viewer)

    def _pace(self, viewer: Viewer) -> None:
        if viewer is self._viewer and viewer.group and viewer.waiting:
            viewer.burst()
            self._pace_soon()


def _names_group(stream: Stream) -> bool:
    """Whether the viewer has answered an offer of the group with the group (RFC 3264 §6.2), and so told no address of
    its own: the one it told before is in force.
    """
    return stream.way.group is not None and stream.remote[0] == stream.way.group.address
