"""The journal of running dialogs: what a restarted worker must end before it begins anew, and what the new home of a
camera ends for the one before.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import structlog

from soip.directory.errors import UnavailableError
from soip.directory.rows import DialogRow
from soip.media.context import Context
from soip.net.call import Call
from soip.net.errors import NetError
from soip.net.sip import SipEndpoint
from soip.net.target import Target
from soip.sip.dialog import Dialog, DialogId
from soip.sip.errors import SipError
from soip.sip.uri import NameAddr, Uri

REASON = 'SIP;cause=503;text="media server restarted"'
MOVED = 'SIP;cause=503;text="another media server serves the camera now"'
GIVE_UP_S = 10.0
"""A peer that does not answer the BYE of an old dialog in this time is taken for gone."""

LEFT_S = 5.0
"""How long the first call to a camera waits until that of its former home has ended: one that can be reached answers at
once, and the SIP server knows within two seconds who is at home where.
"""
_AGAIN_S = 1.0
_NOT_YET = 407
"""What the SIP server says to who is not the camera's home, as far as it knows."""

_log = structlog.get_logger()


def row_of(context: Context, camera: str, call: Call, rtp_port: int) -> DialogRow:
    """The journal's row of a call that has been set up."""
    dialog = call.dialog
    return DialogRow(
        id=f"{dialog.id.call_id} {dialog.id.local_tag}",
        instance_id=context.instance,
        camera_id=camera,
        call_id=dialog.id.call_id,
        local_uri=dialog.local,
        local_tag=dialog.id.local_tag,
        remote_uri=dialog.remote,
        remote_tag=dialog.id.remote_tag,
        remote_target=str(dialog.target),
        route_set=json.dumps([str(route) for route in dialog.route_set]),
        cseq=dialog.local_cseq,
        rtp_port=rtp_port,
        started_us=context.now_us(),
    )


def journal(context: Context, camera: str, call: Call, rtp_port: int) -> None:
    """Keep a row for as long as the call is up."""
    row = row_of(context, camera, call, rtp_port)
    context.later.save(row)
    call.on_end(lambda _end: context.later.delete(row))


async def end_old_dialogs(context: Context, endpoint: SipEndpoint, proxy: Target) -> None:
    """Hang up what an earlier life left behind, all at once. Ports are reserved until their dialog has ended.

    Needs the connection to the SIP server. A dialog whose peer does not answer is forgotten: it is gone, or it will
    notice by itself that nobody is there.
    """
    rows = await context.directory.calls.dialogs(context.instance)
    for row in rows:
        context.ports.reserve(row.rtp_port)
    async with asyncio.TaskGroup() as group:
        for row in rows:
            group.create_task(_end(context, endpoint, proxy, row))
    if rows:
        _log.info("ended the calls of an earlier run", calls=len(rows))


async def _end(context: Context, endpoint: SipEndpoint, proxy: Target, row: DialogRow) -> None:
    with suppress(SipError, ValueError, NetError, TimeoutError):
        async with asyncio.timeout(GIVE_UP_S):
            await _bye(endpoint, proxy, row, REASON)
    context.ports.unreserve(row.rtp_port)
    context.later.delete(row)


async def _bye(endpoint: SipEndpoint, proxy: Target, row: DialogRow, reason: str) -> int:
    """The answer to a BYE in the dialog of a row. Raises SipError or ValueError for a row that is none, NetError."""
    bye = _dialog(row).request("BYE")
    bye.headers.add("Reason", reason)
    return (await endpoint.request(bye, proxy)).status


async def end_left_behind(context: Context, endpoint: SipEndpoint, proxy: Target, camera: str) -> None:
    """Hang up the calls in which a camera that has come here still sends to the workers it was with before.

    One that is dead cannot do it: the camera would go on sending to nobody until its own timers end that, and one that
    takes a single call would refuse ours. One that lives has lost the camera and is about to do the same; whose BYE
    comes second is answered 481. Waits `LEFT_S` at most for all of it.
    """
    with suppress(UnavailableError, TimeoutError):
        async with asyncio.timeout(LEFT_S):
            rows = await context.directory.calls.left_behind(camera, context.instance)
            async with asyncio.TaskGroup() as group:
                for row in rows:
                    if _is_to(row, camera):
                        group.create_task(_end_of_another(context, endpoint, proxy, row))


async def _end_of_another(context: Context, endpoint: SipEndpoint, proxy: Target, row: DialogRow) -> None:
    """The row goes in any case: a peer that is not to be reached is gone, or will notice by itself."""
    try:
        with suppress(SipError, ValueError, NetError):
            status = await _bye(endpoint, proxy, row, MOVED)
            while status == _NOT_YET:
                await asyncio.sleep(_AGAIN_S)
                status = await _bye(endpoint, proxy, row, MOVED)
            _log.info("ended the call of the home before", camera=row.camera_id, by=row.instance_id, status=status)
    finally:
        context.later.delete(row)


def _is_to(row: DialogRow, camera: str) -> bool:
    """Whether a dialog is a call to the camera, and not one of somebody who watches it."""
    try:
        return NameAddr.parse(row.remote_uri).uri.user == camera
    except SipError:
        return False


def _dialog(row: DialogRow) -> Dialog:
    return Dialog(
        id=DialogId(row.call_id, row.local_tag, row.remote_tag),
        local=row.local_uri,
        remote=row.remote_uri,
        target=Uri.parse(row.remote_target),
        route_set=tuple(NameAddr.parse(route) for route in json.loads(row.route_set)),
        contact=NameAddr("", Uri.parse(row.remote_target)),
        # Requests of the old dialog after the row was written (keepalives) may have raised it (RFC 3261 §12.2.1.1).
        local_cseq=row.cseq + 1000,
        confirmed=True,
    )
