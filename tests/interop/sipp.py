"""SIPp as a caller that does what no phone of ours would: INVITEs without SDP, or with nonsense for one."""

from __future__ import annotations

import socket
import subprocess
from contextlib import suppress

from tests.peers import need
from tests.site import DOMAIN, SIP_PASSWORD, USER, Site

_INVITE = """\
<send retrans="20000"><![CDATA[
INVITE sip:{camera}@{domain} SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:{user}@{domain}>;tag=[call_number]
To: <sip:{camera}@{domain}>
Call-ID: [call_id]
CSeq: {cseq} INVITE
Contact: <sip:{user}@[local_ip]:[local_port]>
{auth}
{type}Content-Length: [len]

{body}]]></send>
"""

_ACK = """\
<send><![CDATA[
ACK sip:{camera}@{domain} SIP/2.0
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
CSeq: {cseq} ACK
Max-Forwards: 70
Content-Length: 0

]]></send>
"""

_IN_DIALOG = """\
<send{retrans}><![CDATA[
{method} [next_url] SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
[routes]
Max-Forwards: 70
From: <sip:{user}@{domain}>;tag=[call_number]
[last_To:]
Call-ID: [call_id]
CSeq: {cseq} {method}
{type}Content-Length: [len]

{body}]]></send>
"""

SDP = "Content-Type: application/sdp\n"


def answer(port: int) -> str:
    """Takes whatever video is offered as payload type 96."""
    lines = "v=0", "o=- 1 1 IN IP4 [local_ip]", "s=-", "c=IN IP4 [local_ip]", "t=0 0", f"m=video {port} RTP/AVP 96"
    fmtp = "a=fmtp:96 packetization-mode=1;profile-level-id=42e01f"
    return "\n".join((*lines, "a=rtpmap:96 H264/90000", fmtp, "a=recvonly", ""))


def _scenario(camera: str, steps: list[str]) -> str:
    names = {"camera": camera, "domain": DOMAIN, "user": USER}
    parts = [step.replace("{camera}", camera).format(**names) if "{" in step else step for step in steps]
    return "<?xml version='1.0'?><scenario name='caller'>" + "".join(parts) + "</scenario>"


def _invite(cseq: int, auth: str, body: str) -> str:
    return (
        _INVITE.replace("{cseq}", str(cseq))
        .replace("{auth}", auth)
        .replace("{body}", body)
        .replace("{type}", SDP if body else "")
    )


def _opening(camera_body: str) -> list[str]:
    return [
        _invite(1, "Subject: a test", camera_body),
        '<recv response="100" optional="true"/><recv response="407" auth="true"/>',
        _ACK.replace("{cseq}", "1"),
        _invite(2, "[authentication]", camera_body),
    ]


def refused(site: Site, camera: str, body: str, status: int) -> None:
    """Call with a body that cannot be answered; fails unless the answer is `status` with a Warning."""
    check = '<action><ereg regexp=".+" search_in="hdr" header="Warning:" check_it="true" assign_to="1"/></action>'
    steps = [
        *_opening(body),
        f'<recv response="100" optional="true"/><recv response="{status}">{check}</recv>',
        _ACK.replace("{cseq}", "2"),
        '<Reference variables="1"/>',
    ]
    _run(site, _scenario(camera, steps))


def delayed_offer(site: Site, camera: str) -> int:
    """Call without SDP, answer the server's offer in the ACK, hang up; the number of RTP packets that came."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as media:
        media.bind((site.host, 0))
        port = media.getsockname()[1]
        dialog = _IN_DIALOG.replace("{cseq}", "2").replace("{retrans}", "").replace("{method}", "ACK")
        bye = _IN_DIALOG.replace("{cseq}", "3").replace("{retrans}", ' retrans="20000"').replace("{method}", "BYE")
        steps = [
            *_opening(""),
            '<recv response="100" optional="true"/><recv response="200" rrs="true">'
            '<action><ereg regexp="m=video [0-9]+ RTP/AVP 96" search_in="body" check_it="true" assign_to="1"/></action>'
            "</recv>",
            dialog.replace("{body}", answer(port)).replace("{type}", SDP),
            '<pause milliseconds="2500"/>',
            bye.replace("{body}", "").replace("{type}", ""),
            '<recv response="200"/><Reference variables="1"/>',
        ]
        _run(site, _scenario(camera, steps))
        return _waiting(media)


def _waiting(media: socket.socket) -> int:
    """How many datagrams came."""
    media.setblocking(False)
    count = 0
    with suppress(BlockingIOError):
        while media.recv(65536):
            count += 1
    return count


def _run(site: Site, text: str) -> None:
    file = site.folder / "scenario.xml"
    file.write_text(text)
    command = [need("sipp"), site.sip_address, "-sf", str(file), "-m", "1", "-i", site.host, "-nostdin"]
    command += ["-au", USER, "-ap", SIP_PASSWORD, "-timeout", "90s", "-timeout_error", "-trace_err", "-trace_msg"]
    command += ["-message_file", str(site.folder / "sipp.log"), "-error_file", str(site.folder / "sipp-errors.log")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=site.folder)
    said = (site.folder / "sipp.log").read_text() if (site.folder / "sipp.log").exists() else done.stderr
    assert done.returncode == 0, said[-4000:]
