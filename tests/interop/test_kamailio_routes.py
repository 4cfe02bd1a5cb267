"""Kamailio as the server of another domain, and as the PBX at which we are registered."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from soip.config import HostPort, SipRoute
from soip.net.certificates import now
from soip.sip import headers as h
from soip.sip.message import Request, Response
from tests.interop.kamailio import free_port, kamailio
from tests.signalling.conftest import ServerHouse, furnished, running
from tests.signalling.peer import DOMAIN, Peer, eventually, open_peer
from tests.signalling.test_tls import certify

pytestmark = pytest.mark.interop

__all__ = ["furnished"]

SECRET = "route-secret"
CARL = "sip:carl@pbx.example"
WITHIN = 30.0

PBX = """\
debug=0
log_stderror=yes
children=2
tcp_children=2
enable_tls=yes
listen=udp:127.0.0.1:{port}
listen=tcp:127.0.0.1:{port}
listen=tls:127.0.0.1:{tls_port}
alias="pbx.example"
loadmodule "tm.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "siputils.so"
loadmodule "usrloc.so"
loadmodule "registrar.so"
loadmodule "nathelper.so"
loadmodule "auth.so"
loadmodule "tls.so"
modparam("tls", "config", "{folder}/tls.cfg")
modparam("registrar|nathelper", "received_avp", "$avp(received)")
modparam("rr", "enable_double_rr", 1)
request_route {{
  if (is_method("CANCEL")) {{ if (t_check_trans()) t_relay(); exit; }}
  if (has_totag()) {{
    if (!loose_route() && !is_method("ACK")) {{ sl_send_reply("404", "Not here"); exit; }}
    t_relay();
    exit;
  }}
  t_check_trans();
  if (is_method("OPTIONS")) {{ sl_send_reply("200", "OK"); exit; }}
  if (is_method("REGISTER")) {{
    if (!pv_www_authenticate("pbx.example", "{secret}", "0")) {{ www_challenge("pbx.example", "0"); exit; }}
    if ($proto != "udp") fix_nated_register();
    save("location");
    exit;
  }}
  if (!pv_proxy_authenticate("pbx.example", "{secret}", "0")) {{ proxy_challenge("pbx.example", "0"); exit; }}
  consume_credentials();
  record_route();
  if ($rd == "{domain}") {{
    append_hf("P-Asserted-Identity: <sip:$fU@pbx.example>\\r\\n");
    $du = "sip:127.0.0.1:{site_port};transport=tls";
    t_relay();
    exit;
  }}
  if (!lookup("location")) {{ sl_send_reply("404", "Not found"); exit; }}
  if ($du != $null && $fU != "bob") append_hf("P-Asserted-Identity: <sip:$fU@pbx.example>\\r\\n");
  t_relay();
}}
"""

TLS = """\
[server:default]
method = TLSv1.2+
certificate = {folder}/pbx.pem
private_key = {folder}/pbx.key
[client:default]
method = TLSv1.2+
certificate = {folder}/client.pem
private_key = {folder}/client.key
verify_certificate = yes
ca_list = {folder}/tls/ca.pem
"""


@dataclass
class Two:
    """Our site, and Kamailio with carl behind it."""

    house: ServerHouse
    carl: Peer

    async def dials(self, uri: str) -> Request:
        """Carl calls, and answers the challenge of his own server: the INVITE on its way."""
        invite = self.carl.invite(uri)
        invite.headers.set("From", f"<{CARL}>;tag=c{h.cseq(invite.headers).number}")
        self.carl.send(invite)
        challenge = await self.carl.response(invite)
        assert challenge.status == 407, challenge
        assert "pbx.example" in (challenge.headers.get("Proxy-Authenticate") or "")
        invite = self.carl.answer_to(invite, challenge)
        self.carl.send(invite)
        return invite


@asynccontextmanager
async def beside(
    furnished: Path, folder: Path, transport: str = "udp", *, found: str = "up", **more: Any
) -> AsyncIterator[Two]:
    """Both servers with a route between them, which has been `found` so."""
    authority = certify(folder / "tls")
    authority.issue(["127.0.0.1", "pbx.example"], now(), server=True).save(folder / "pbx.pem", folder / "pbx.key")
    authority.issue(["pbx.example"], now(), server=False).save(folder / "client.pem", folder / "client.key")
    (folder / "tls.cfg").write_text(TLS.format(folder=folder))
    port, tls_port, site_port = free_port(), free_port(socket.SOCK_STREAM), free_port(socket.SOCK_STREAM)
    names = {"folder": folder, "secret": SECRET, "domain": DOMAIN}
    config = PBX.format(port=port, tls_port=tls_port, site_port=site_port, **names)
    hop = f"sip:127.0.0.1:{tls_port if transport == 'tls' else port};transport={transport}"
    given: dict[str, Any] = {"name": "pbx", "to": hop, "domains": ("pbx.example",), "username": "site"}
    route = SipRoute(**{**given, "password": SECRET, "account": "ann", **more})
    settings: dict[str, Any] = {"sip_tls": HostPort("127.0.0.1", site_port), "sip_routes": (route,)}
    async with kamailio(config, folder, port), running(furnished, folder, **settings) as house:
        carl = await open_peer("carl", SECRET, ("127.0.0.1", port))
        house.peers.append(carl)

        async def registered() -> bool:
            try:
                return (await carl.register()).status == 200
            except TimeoutError:
                return False

        await eventually(registered, within=WITHIN)

        async def up() -> bool:
            assert house.role.trunks is not None
            return [trunk.state.name for trunk in house.role.trunks] == [found]

        await eventually(up, within=90)
        yield Two(house, carl)


async def accepted(caller: Peer, invite: Request, called: Peer, arrived: Request) -> tuple[Response, Response]:
    """The called side takes the call: its answer, and that which the caller has got."""
    answer = called.reply(arrived, 200)
    response = await caller.response(invite)
    assert response.status == 200, response
    caller.send(caller.ack(invite, response))
    await called.arrives("ACK")
    return answer, response


async def both_hang_up(
    caller: Peer, invite: Request, response: Response, called: Peer, arrived: Request, answer: Response
) -> None:
    """Requests in the dialog go both ways; the called side ends it."""
    info = caller.within("INFO", invite, response)
    caller.send(info)
    called.reply(await called.arrives("INFO"), 200)
    assert (await caller.response(info)).status == 200
    bye = called.back("BYE", arrived, answer)
    called.send(bye)
    caller.reply(await caller.arrives("BYE"), 200)
    assert (await called.response(bye)).status == 200


@pytest.mark.parametrize("transport", ["udp", "tcp", "tls"])
async def test_one_of_ours_calls_one_of_theirs(furnished: Path, tmp_path: Path, transport: str) -> None:
    """The route's credentials answer Kamailio's challenge; bob sees none of it."""
    async with beside(furnished, tmp_path, transport) as two:
        bob = await two.house.peer("bob")
        invite = await bob.call(CARL)
        arrived = await two.carl.arrives("INVITE")
        assert "P-Asserted-Identity" not in arrived.headers
        answer, response = await accepted(bob, invite, two.carl, arrived)
        await both_hang_up(bob, invite, response, two.carl, arrived, answer)


async def test_one_of_theirs_calls_one_of_ours(furnished: Path, tmp_path: Path) -> None:
    """One challenger per path: Kamailio asks carl, and vouches for him over mutual TLS; we do not ask again."""
    async with beside(furnished, tmp_path) as two:
        bob = await two.house.peer("bob")
        await bob.register()
        invite = await two.dials(f"sip:bob@{DOMAIN}")
        arrived = await bob.arrives("INVITE")
        assert arrived.headers.get_all("P-Asserted-Identity") == [f"<{CARL}>"]
        answer, response = await accepted(two.carl, invite, bob, arrived)
        await both_hang_up(two.carl, invite, response, bob, arrived, answer)


async def test_one_of_theirs_watches_a_camera_with_the_rights_of_the_route(furnished: Path, tmp_path: Path) -> None:
    async with beside(furnished, tmp_path) as two:
        worker = await two.house.worker()
        invite = await two.dials(f"sip:cam1@{DOMAIN}")
        arrived = await worker.arrives("INVITE")
        assert arrived.headers.get_all("P-Asserted-Identity") == [f"<sip:ann@{DOMAIN}>"]
        answer, response = await accepted(two.carl, invite, worker, arrived)
        await both_hang_up(two.carl, invite, response, worker, arrived, answer)


async def test_without_an_account_they_are_strangers(furnished: Path, tmp_path: Path) -> None:
    async with beside(furnished, tmp_path, account="") as two:
        invite = await two.dials(f"sip:bob@{DOMAIN}")
        response = await two.carl.response(invite)
        assert response.status == 407
        assert DOMAIN in (response.headers.get("Proxy-Authenticate") or ""), "now it is we who ask"


@pytest.mark.parametrize("transport", ["tcp", "tls"])
async def test_we_are_registered_at_a_pbx_and_called_by_our_number(
    furnished: Path, tmp_path: Path, transport: str
) -> None:
    """The PBX calls us over the connection of our registration; who it is needs no further proof there."""
    async with beside(furnished, tmp_path, transport, register=True, target="bob") as two:
        bob = await two.house.peer("bob")
        await bob.register()
        invite = await two.dials("sip:site@pbx.example")
        arrived = await bob.arrives("INVITE")
        assert arrived.headers.get_all("P-Asserted-Identity") == [f"<{CARL}>"]
        answer, response = await accepted(two.carl, invite, bob, arrived)
        await both_hang_up(two.carl, invite, response, bob, arrived, answer)


async def test_a_registration_with_a_wrong_password_is_told(furnished: Path, tmp_path: Path) -> None:
    async with beside(furnished, tmp_path, register=True, password="wrong", found="refused") as two:
        assert two.house.role.trunks is not None
        (trunk,) = two.house.role.trunks
        assert trunk.state.why.startswith("401")
