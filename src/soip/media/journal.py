"""The journal of running dialogs: what a restarted worker must end before it begins anew."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import structlog

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
GIVE_UP_S = 10.0
"""A peer that does not answer the BYE of an old dialog in this time is taken for gone."""

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
        bye = _dialog(row).request("BYE")
        bye.headers.add("Reason", REASON)
        async with asyncio.timeout(GIVE_UP_S):
            await endpoint.request(bye, proxy)
    context.ports.unreserve(row.rtp_port)
    context.later.delete(row)


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
