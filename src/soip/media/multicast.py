"""Live pictures and sound by multicast: one send for all who asked for the same of one camera.

Theory. What one group carries is a channel: the pictures of a camera, or its sound, in one format and with one payload
type, since that stands in every packet. A call takes its seats when its offer is answered, since the answer names the
group, and gives them back at its end; a channel is there, and its group nobody else's, while a seat in it is taken. It
is sent to while anybody watches; who holds his call does not.

To the relay a channel is one viewer: it knows of no group, and what is sent costs the same for one and for a hundred.
So nothing that one of them says changes what the others see: nobody is thinned, or sent anything again. A keyframe may
be asked for, and comes to all. Who is gone is found by the signalling (RFC 4028).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from soip.media.camerastream import CameraStream
from soip.media.context import Context
from soip.media.liveview import LiveView
from soip.net.multicast import PORTS, open_sending
from soip.net.ports import PortsExhaustedError
from soip.net.rtp import RtpSocketPair
from soip.sip.mediaway import Group
from soip.sip.offer import Agreement, Stream
from soip.sip.sdp import RtpMap

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Content:
    """What a channel carries."""

    camera: CameraStream
    kind: str
    form: RtpMap
    payload_type: int


class Channel:
    """One group while it is taken: `join` and `leave` for who watches, `tick` once a second, at last `close`."""

    def __init__(self, context: Context, content: Content, group: Group, pair: RtpSocketPair) -> None:
        self.content = content
        self.group = group
        self.seats = 0
        """Calls that were told the group."""
        self.watchers: set[object] = set()
        self._context = context
        self._pair = pair
        self._view: LiveView | None = None
        self._agreement = Agreement((_stream(content, group, pair.port),))

    def join(self, watcher: object) -> None:
        """Send while `watcher` is there. Raises OfferError, OSError."""
        camera = self.content.camera
        if self.watchers:
            # What the others are in the middle of cannot begin anew for this one, but a keyframe can come.
            if self.content.kind == "video":
                camera.ask_keyframe()
        elif self._view is None:
            self._view = LiveView(self._context, camera, self._agreement, [self._pair, self._pair])
        else:
            self._view.direct(self._agreement)
        self.watchers.add(watcher)
        self._count(1)

    def leave(self, watcher: object) -> None:
        """Stop with the last; one who is not there is ignored."""
        if watcher not in self.watchers:
            return
        self._count(-1)
        self.watchers.discard(watcher)
        if not self.watchers and self._view is not None:
            streams = [replace(stream, direction="inactive") for stream in self._agreement.streams if stream]
            self._view.direct(Agreement(tuple(streams)))

    def _count(self, change: int) -> None:
        """Who is not alone adds nothing to what is sent."""
        if self.content.kind == "video" and len(self.watchers) > 1:
            self.content.camera.sharing += change

    def tick(self) -> None:
        """Reports to the group that are due."""
        if self._view is not None:
            self._view.tick()

    def close(self) -> None:
        for watcher in tuple(self.watchers):
            self.leave(watcher)
        if self._view is not None:
            self._view.close()
        self._pair.close()


class Channels:
    """All channels of a worker."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._open: dict[Content, Channel] = {}

    def seats(self, camera: CameraStream) -> Seats:
        """Those of a call in which a camera is shown."""
        return Seats(camera, self._take, self._give)

    def watched(self, camera: CameraStream) -> tuple[int, int]:
        """How many channels with pictures of a camera are sent to, and how many watch them."""
        counts = [
            len(channel.watchers)
            for content, channel in self._open.items()
            if content.camera is camera and content.kind == "video" and channel.watchers
        ]
        return len(counts), sum(counts)

    def _take(self, content: Content) -> Channel | None:
        """A seat in the channel with this, which is opened for the first; None where that cannot be."""
        channel = self._open.get(content) or self._opened(content)
        if channel is not None:
            channel.seats += 1
        return channel

    def _opened(self, content: Content) -> Channel | None:
        context = self._context
        address = context.groups.take()
        if address is None:
            return None
        pair: RtpSocketPair | None = None
        try:
            pair = open_sending(context.ports, context.address, context.now, context.groups.ttl)
            group = Group(address, PORTS[content.kind], context.groups.ttl, context.address)
            pair.direct(_stream(content, group, pair.port))
        except (PortsExhaustedError, OSError) as error:
            if pair is not None:
                pair.close()
            context.groups.release(address)
            _log.warning("no multicast: it goes to each viewer by itself", group=address, reason=str(error))
            return None
        _log.info("multicast group taken", camera=content.camera.row.id, what=content.kind, group=address)
        channel = self._open[content] = Channel(context, content, group, pair)
        return channel

    def _give(self, channel: Channel) -> None:
        channel.seats -= 1
        if not channel.seats:
            del self._open[channel.content]
            channel.close()
            self._context.groups.release(channel.group.address)
            _log.info("multicast group left", camera=channel.content.camera.row.id, group=channel.group.address)


class Seats:
    """Those of one call: `group` whenever an offer is answered, `join` when what was agreed on is to be seen, `leave`
    on hold, `close` at the end of the call.
    """

    def __init__(
        self, camera: CameraStream, take: Callable[[Content], Channel | None], give: Callable[[Channel], None]
    ) -> None:
        self._camera = camera
        self._take, self._give = take, give
        self._taken: dict[str, Channel] = {}

    def group(self, kind: str, form: RtpMap, payload_type: int) -> Group | None:
        """See `sip.offer.Groups`. A call has one group for each kind of media: in another format it goes on without."""
        content = Content(self._camera, kind, form, payload_type)
        channel = self._taken.get(kind) or self._take(content)
        if channel is None:
            return None
        self._taken[kind] = channel
        return channel.group if channel.content == content else None

    def join(self, kind: str) -> None:
        """Watch the group that was told. Raises OfferError, OSError."""
        self._taken[kind].join(self)

    def leave(self) -> None:
        """Watch none."""
        for channel in self._taken.values():
            channel.leave(self)

    def tick(self) -> None:
        """Once a second; what is due to a group is sent once, however many ask for it."""
        for channel in self._taken.values():
            channel.tick()

    def close(self) -> None:
        """Give all back; again does nothing."""
        self.leave()
        while self._taken:
            _, channel = self._taken.popitem()
            self._give(channel)


def _stream(content: Content, group: Group, port: int) -> Stream:
    """What is sent to a group, as an agreement with one peer says it."""
    return Stream(
        content.kind,
        content.form.encoding,
        content.payload_type,
        frozenset(),
        content.form.clock_rate,
        "sendonly",
        port,
        (group.address, group.port),
        (group.address, group.port + 1),
        channels=content.form.channels,
    )
