"""SIPp, the classic test peer, as camera: it knows nothing of this project."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from soip.sip import headers as h
from soip.sip.digest import Credentials, NonceIssuer, answer_challenge
from soip.sip.headers import Challenge
from soip.sip.timers import Timers
from tests.signalling.conftest import ServerHouse
from tests.signalling.peer import DOMAIN

pytestmark = pytest.mark.interop

REGISTER = """\
      REGISTER sip:{domain} SIP/2.0
      Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
      Max-Forwards: 70
      From: <sip:{camera}@{domain}>;tag=[call_number]
      To: <sip:{camera}@{domain}>
      Call-ID: [call_id]
      CSeq: {cseq} REGISTER
      Contact: <sip:{camera}@[local_ip]:[local_port];transport=[transport]>
      Expires: {expires}
      {auth}
      Content-Length: 0

"""


def write(file: Path, text: str) -> None:
    file.write_text(text)


def scenario(camera: str, *, last: int, expires: int = 3600, then_leave: bool = False) -> str:
    """REGISTER, 401, REGISTER with digest, `last`; and the same again with Expires 0 where asked for."""

    def send(cseq: int, seconds: int, auth: str) -> str:
        text = REGISTER.format(domain=DOMAIN, camera=camera, cseq=cseq, expires=seconds, auth=auth)
        return f'<send retrans="20000"><![CDATA[\n{text}]]></send>'

    parts = [
        send(1, expires, "Subject: without"),
        '<recv response="401" auth="true"/>',
        send(2, expires, "[authentication]"),
        f'<recv response="{last}"/>',
    ]
    if then_leave:
        parts += [
            send(3, 0, "Subject: without"),
            '<recv response="401" auth="true"/>',
            send(4, 0, "[authentication]"),
            '<recv response="200"/>',
        ]
    return "<?xml version='1.0'?><scenario name='register'>" + "".join(parts) + "</scenario>"


async def sipp(house: ServerHouse, file: Path, text: str, password: str, transport: str, user: str = "cam1") -> int:
    """Run one scenario once; 0 when it went as written."""
    write(file, text)
    process = await asyncio.create_subprocess_exec(
        "/usr/bin/sipp",
        f"{house.address[0]}:{house.address[1]}",
        *("-sf", str(file), "-m", "1", "-i", "127.0.0.1", "-t", transport, "-nostdin"),
        *("-au", user, "-ap", password, "-timeout", "60s", "-timeout_error"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=file.parent,
    )
    async with asyncio.timeout(90):
        return await process.wait()


@pytest.mark.parametrize("transport", ["u1", "t1"])
async def test_sipp_registers(house: ServerHouse, tmp_path: Path, transport: str) -> None:
    assert await sipp(house, tmp_path / "s.xml", scenario("cam1", last=200), "secret1", transport) == 0
    camera = await house.peer("cam1")
    query = await camera.ask(camera.request("REGISTER", f"sip:{DOMAIN}", to=f"<sip:cam1@{DOMAIN}>"))
    left = len(h.contacts(query.headers))
    assert left == (1 if transport == "u1" else 0), "with its connection a TCP camera is gone"


async def test_sipp_with_a_wrong_password(house: ServerHouse, tmp_path: Path) -> None:
    assert await sipp(house, tmp_path / "s.xml", scenario("cam1", last=403), "wrong", "u1") == 0


async def test_sipp_for_an_address_that_is_not_its_own(house: ServerHouse, tmp_path: Path) -> None:
    await house.directory.cameras.add("cam4", realm=DOMAIN, password="secret4")
    assert await sipp(house, tmp_path / "s.xml", scenario("cam4", last=403), "secret1", "u1") == 0


async def test_sipp_leaves(house: ServerHouse, tmp_path: Path) -> None:
    text = scenario("cam1", last=200, then_leave=True)
    assert await sipp(house, tmp_path / "s.xml", text, "secret1", "u1") == 0
    camera = await house.peer("cam1")
    query = await camera.ask(camera.request("REGISTER", f"sip:{DOMAIN}", to=f"<sip:cam1@{DOMAIN}>"))
    assert h.contacts(query.headers) == ()


async def test_sipp_too_brief(house: ServerHouse, tmp_path: Path) -> None:
    assert await sipp(house, tmp_path / "s.xml", scenario("cam1", last=423, expires=5), "secret1", "u1") == 0


PLAIN = "Subject: without"
DIGEST = "[authentication]"


def turns(camera: str, *taken: tuple[int, str, int, str, str], contact: str = "") -> str:
    """REGISTERs of one Call-ID, one after the other: Expires, the line with credentials, the status that is expected,
    and a header field of the answer with what must be found in it.
    """
    parts = []
    for cseq, (expires, auth, status, header, found) in enumerate(taken, 1):
        text = REGISTER.format(domain=DOMAIN, camera=camera, cseq=cseq, expires=expires, auth=auth)
        if contact:
            text = text.replace(text[text.index("Contact:") : text.index("\n", text.index("Contact:"))], contact)
        asked = ' auth="true"' if status == 401 else ""
        check = (
            f'<ereg regexp="{found}" search_in="hdr" header="{header}:" check_it="true" assign_to="1"/>'
            if header
            else '<assignstr assign_to="1" value=""/>'
        )
        parts.append(f'<send retrans="500"><![CDATA[\n{text}]]></send>')
        parts.append(f'<recv response="{status}"{asked}><action>{check}</action></recv>')
    inside = "".join(parts) + '<Reference variables="1"/>'
    return f"<?xml version='1.0'?><scenario name='registers'>{inside}</scenario>"


async def bindings(house: ServerHouse) -> list[str]:
    """The contacts of cam1, as the server tells them."""
    camera = await house.peer("cam1")
    query = await camera.ask(camera.request("REGISTER", f"sip:{DOMAIN}", to=f"<sip:cam1@{DOMAIN}>"))
    return [str(contact.uri) for contact in h.contacts(query.headers)]


async def test_sipp_is_asked_with_qop_and_refreshes(house: ServerHouse, tmp_path: Path) -> None:
    """The refresh is challenged too, and leaves one binding."""
    text = turns(
        "cam1",
        (3600, PLAIN, 401, "WWW-Authenticate", "qop=.auth."),
        (3600, DIGEST, 200, "Contact", "expires=3600"),
        (120, PLAIN, 401, "", ""),
        (120, DIGEST, 200, "Contact", "expires=1[12]"),
    )
    assert await sipp(house, tmp_path / "s.xml", text, "secret1", "u1") == 0
    assert len(await bindings(house)) == 1


async def test_sipp_answers_without_qop(house: ServerHouse, tmp_path: Path) -> None:
    """As RFC 2069 has it. SIPp itself always answers with what it is asked for, so its answer is made here."""
    camera = await house.peer("cam1")
    asked = camera.request("REGISTER", f"sip:{DOMAIN}", to=f"<sip:cam1@{DOMAIN}>")
    challenge = h.challenges((await camera.ask(asked, challenged=False)).headers)[0]
    old = Challenge("Digest", tuple((name, value) for name, value in challenge.params if name in ("realm", "nonce")))
    right = answer_challenge(old, "REGISTER", f"sip:{DOMAIN}", Credentials("cam1", "secret1"), "")
    wrong = answer_challenge(old, "REGISTER", f"sip:{DOMAIN}", Credentials("cam1", "guess"), "")
    assert "qop" not in str(right)
    for answer, status in ((wrong, 403), (right, 200)):
        text = turns("cam1", (3600, f"Authorization: {answer}", status, "", ""))
        assert await sipp(house, tmp_path / "s.xml", text, "", "u1") == 0
    assert len(await bindings(house)) == 1


async def test_sipp_with_a_nonce_of_another_life_is_asked_anew(house: ServerHouse, tmp_path: Path) -> None:
    nonce = NonceIssuer(b"a key of another life").issue(0.0, "127.0.0.1")
    line = f'Digest username="cam1", realm="{DOMAIN}", nonce="{nonce}", uri="sip:{DOMAIN}", response="{"0" * 32}"'
    text = turns(
        "cam1",
        (3600, f"Authorization: {line}", 401, "WWW-Authenticate", "stale=true"),
        (3600, DIGEST, 200, "", ""),
    )
    assert await sipp(house, tmp_path / "s.xml", text, "secret1", "u1") == 0
    assert len(await bindings(house)) == 1


async def test_sipp_counts_on_with_the_nonce_it_has(house: ServerHouse, tmp_path: Path) -> None:
    text = turns(
        "cam1",
        (3600, PLAIN, 401, "", ""),
        (3600, DIGEST, 200, "", ""),
        (3600, DIGEST, 200, "", ""),
        (0, DIGEST, 200, "", ""),
    )
    assert await sipp(house, tmp_path / "s.xml", text, "secret1", "u1") == 0


async def test_sipp_leaves_by_star(house: ServerHouse, tmp_path: Path) -> None:
    camera = await house.peer("cam1")
    assert (await camera.register()).status == 200
    text = turns("cam1", (0, PLAIN, 401, "", ""), (0, DIGEST, 200, "", ""), contact="Contact: *")
    assert await sipp(house, tmp_path / "s.xml", text, "secret1", "u1") == 0
    assert await bindings(house) == []


async def test_sipp_prefers_one_contact(house: ServerHouse, tmp_path: Path) -> None:
    contact = "Contact: <sip:cam1@[local_ip]:[local_port]>;q=0.4"
    text = turns("cam1", (600, PLAIN, 401, "", ""), (600, DIGEST, 200, "Contact", "q=0.4"), contact=contact)
    assert await sipp(house, tmp_path / "s.xml", text, "secret1", "u1") == 0


UAS = """<?xml version='1.0'?><scenario name='camera'>
<recv request="INVITE" rrs="true"/>
<send><![CDATA[
SIP/2.0 180 Ringing
[last_Via:]
[last_From:]
[last_To:];tag=[call_number]
[last_Call-ID:]
[last_CSeq:]
[last_Record-Route:]
Contact: <sip:cam1@[local_ip]:[local_port]>
Content-Length: 0

]]></send>
<send retrans="20000"><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:];tag=[call_number]
[last_Call-ID:]
[last_CSeq:]
[last_Record-Route:]
Contact: <sip:cam1@[local_ip]:[local_port]>
Content-Length: 0

]]></send>
<recv request="ACK"/>
<recv request="BYE"/>
<send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
</scenario>"""


async def test_sipp_is_called_as_a_camera(house: ServerHouse, tmp_path: Path) -> None:
    await house.stop()
    house.timers = Timers()
    await house.start()
    worker, camera = await house.worker(), await house.peer("cam1")
    await camera.register()
    port = camera.local[1]
    camera.close()
    await asyncio.sleep(0)
    file = tmp_path / "uas.xml"
    write(file, UAS)
    process = await asyncio.create_subprocess_exec(
        "/usr/bin/sipp",
        *("-sf", str(file), "-m", "1", "-i", "127.0.0.1", "-p", str(port), "-nostdin", "-timeout", "60s"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=tmp_path,
    )
    invite = await worker.call(f"sip:cam1@{DOMAIN}")  # repeated by the proxy until SIPp listens
    assert (await worker.response(invite, provisional=True)).status == 180
    answer = await worker.response(invite)
    assert answer.status == 200
    worker.send(worker.ack(invite, answer))
    bye = worker.within("BYE", invite, answer)
    worker.send(bye)
    assert (await worker.response(bye)).status == 200
    async with asyncio.timeout(90):
        assert await process.wait() == 0


SUBSCRIBE = """<send retrans="20000"><![CDATA[
SUBSCRIBE {uri} SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
Max-Forwards: 70
From: <sip:ann@{domain}>;tag=[call_number]
{to}
Call-ID: [call_id]
CSeq: {cseq} SUBSCRIBE
Contact: <sip:ann@[local_ip]:[local_port];transport=[transport]>
Event: {event}
Accept: {kind}
Expires: {expires}
{auth}
Content-Length: 0

]]></send>"""

NOTIFIED = """<recv request="NOTIFY"><action>
<ereg regexp="{state}" search_in="hdr" header="Subscription-State:" check_it="true" assign_to="1"/>
<ereg regexp="{body}" search_in="body" check_it="true" assign_to="2"/>
</action></recv>
<send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>"""


def subscriber(event: str, kind: str, body: str) -> str:
    """SUBSCRIBE with digest, the first NOTIFY, SUBSCRIBE with Expires 0, the last NOTIFY."""

    def send(cseq: int, expires: int, auth: str, *, uri: str = f"sip:cam1@{DOMAIN}", to: str = "") -> str:
        to = to or f"To: <sip:cam1@{DOMAIN}>"
        return SUBSCRIBE.format(
            uri=uri, to=to, cseq=cseq, expires=expires, auth=auth, event=event, kind=kind, domain=DOMAIN
        )

    parts = [
        send(1, 600, "Subject: without"),
        '<recv response="407" auth="true"/>',
        send(2, 600, "[authentication]"),
        '<recv response="200" rrs="true"><action><ereg regexp=";tag=.+" search_in="hdr" header="To:" assign_to="3"/>'
        '<ereg regexp="sip:[^>]+" search_in="hdr" header="Contact:" assign_to="4"/></action></recv>',
        NOTIFIED.format(state="active;expires=", body=body),
        send(3, 0, "Subject: over its flow", uri="[$4]", to=f"To: <sip:cam1@{DOMAIN}>[$3]"),
        '<recv response="200"/>',
        NOTIFIED.format(state="terminated;reason=timeout", body=body),
        '<Reference variables="1,2"/>',
    ]
    return "<?xml version='1.0'?><scenario name='subscriber'>" + "".join(parts) + "</scenario>"


@pytest.mark.parametrize("transport", ["u1", "t1"])
async def test_sipp_subscribes(house: ServerHouse, tmp_path: Path, transport: str) -> None:
    text = subscriber("presence", "application/pidf+xml", "basic.closed")
    assert await sipp(house, tmp_path / "s.xml", text, "ann-sip", transport, user="ann") == 0
