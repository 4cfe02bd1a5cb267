"""Registering and staying registered: renewal, back-off, restarts of the server, a flow that breaks."""

from __future__ import annotations

import asyncio

import pytest

from soip.net.auth import Authenticator
from soip.net.backoff import Backoff
from soip.net.errors import FlowError, NetError, RequestRefusedError, RequestTimeoutError
from soip.net.registration import Registration
from soip.net.sip import SipEndpoint
from soip.net.target import Target
from soip.net.ua import UserAgent
from soip.sip import headers as h
from soip.sip.digest import MD5, SHA_256, Credentials, make_challenge
from soip.sip.message import Request, Response
from soip.sip.reply import make_response
from soip.sip.uri import NameAddr, Uri
from tests.net.helpers import PATIENT_S, endpoint, request, until
from tests.net.proxy import SmallProxy
from tests.net.test_ua import agent, make_proxy

AOR = Uri.parse("sip:cam@test")
CONTACT = NameAddr.parse("<sip:cam@192.0.2.1:5060>")


# -- the loop alone, with a registrar that is a function


class Registrar:
    """Answers REGISTERs from a list of statuses or errors, 200 when it is empty."""

    def __init__(self, *answers: int | NetError, granted: int = 3600) -> None:
        self.answers = list(answers)
        self.granted = granted
        self.requests: list[Request] = []
        self.changes: list[tuple[bool, str]] = []

    async def exchange(self, sent: Request) -> Response:
        self.requests.append(sent.copy())
        answer = self.answers.pop(0) if self.answers else 200
        if isinstance(answer, NetError):
            raise answer
        response = make_response(sent, answer)
        if answer == 200:
            response.headers.add("Contact", f"{CONTACT};expires={self.granted}")
            response.headers.add("Contact", "<sip:other@192.0.2.9>;expires=7")
        if answer == 423:
            response.headers.add("Min-Expires", "1800")
        if answer == 503:
            response.headers.add("Retry-After", "0")
        return response

    def registration(self, base: float = 0.01) -> Registration:
        return Registration(
            AOR,
            CONTACT,
            self.exchange,
            Backoff(base, 0.05),
            lambda: 0.5,
            lambda ok, why: self.changes.append((ok, why)),
        )


async def test_the_request_is_as_rfc_3261_10_2_wants_it() -> None:
    registrar = Registrar()
    registration = registrar.registration()
    task = asyncio.ensure_future(registration.run(600))
    assert await registration.first is None
    (sent,) = registrar.requests
    assert str(sent.uri) == "sip:test"
    assert str(h.to(sent.headers).uri) == str(h.from_(sent.headers).uri) == "sip:cam@test"
    assert sent.headers.get("Contact") == str(CONTACT)
    assert h.expires(sent.headers) == 600
    assert registration.registered
    await registration.unregister()
    assert h.expires(registrar.requests[1].headers) == 0
    assert h.call_id(registrar.requests[0].headers) == h.call_id(registrar.requests[1].headers)
    assert [h.cseq(r.headers).number for r in registrar.requests] == [1, 2]
    await registration.unregister()
    assert len(registrar.requests) == 2
    task.cancel()


async def test_it_is_renewed_well_before_it_ends_and_at_once_when_asked() -> None:
    registrar = Registrar(granted=1)
    registration = registrar.registration()
    task = asyncio.ensure_future(registration.run(3600))
    pauses = []
    for number in (2, 3):
        started = asyncio.get_running_loop().time()
        await until(lambda number=number: len(registrar.requests) == number)  # type: ignore[misc]  # bound now
        pauses.append(asyncio.get_running_loop().time() - started)
    assert 0.4 <= min(pauses) <= 0.9, "a machine may stall in one of them"
    registration.renew()
    await until(lambda: len(registrar.requests) == 4)
    assert registrar.changes == [(True, "for 1 s")]
    task.cancel()


@pytest.mark.parametrize("failure", [RequestTimeoutError("silence"), FlowError("refused"), 500, 503, 480])
async def test_it_is_tried_again_after_what_may_pass(failure: int | NetError) -> None:
    registrar = Registrar(failure, failure, failure)
    registration = registrar.registration()
    task = asyncio.ensure_future(registration.run(3600))
    assert await registration.first is None
    assert len(registrar.requests) == 4
    assert registrar.changes == [(True, "for 3600 s")]
    task.cancel()


@pytest.mark.parametrize("status", [401, 403, 404, 407])
async def test_a_first_refusal_that_cannot_pass_is_final(status: int) -> None:
    registrar = Registrar(status)
    registration = registrar.registration()
    await registration.run(3600)
    error = await registration.first
    assert isinstance(error, RequestRefusedError)
    assert error.status == status


async def test_a_later_refusal_is_told_and_tried_again() -> None:
    registrar = Registrar(200, 403, granted=1)
    registration = registrar.registration()
    task = asyncio.ensure_future(registration.run(3600))
    await registration.first
    registration.renew()
    await until(lambda: len(registrar.changes) == 3)
    assert [ok for ok, _ in registrar.changes] == [True, False, True]
    task.cancel()


async def test_a_registrar_that_wants_longer_intervals_gets_them() -> None:
    registrar = Registrar(423)
    registration = registrar.registration()
    task = asyncio.ensure_future(registration.run(60))
    assert await registration.first is None
    assert (h.expires(registrar.requests[1].headers) or 0) >= 1800
    task.cancel()


def test_backoff_doubles_to_its_ceiling_and_is_spread() -> None:
    backoff = Backoff(1.0, 10.0)
    assert [backoff.delay(n, lambda: 1.0) for n in (1, 2, 3, 4, 5, 5000)] == [1, 2, 4, 8, 10, 10]
    assert backoff.delay(3, lambda: 0.0) == 2.0


# -- with a real endpoint


async def test_digest_nonces_are_used_again_and_survive_a_restart_of_the_server() -> None:
    async with make_proxy() as proxy, agent(proxy, "alice") as alice:
        changes: list[bool] = []
        alice.on_registration(lambda ok, why: changes.append(ok))
        await alice.register()
        assert alice.registered
        assert proxy.seen == ["REGISTER"] * 2
        assert alice._registration is not None
        alice._registration.renew()
        await until(lambda: len(proxy.seen) == 3)  # one round trip: nc=2
        assert "nc=00000002" in (proxy.requests[2].headers.get("Authorization") or "")
        proxy.new_nonces()
        alice._registration.renew()
        await until(lambda: len(proxy.seen) == 5)
        await asyncio.sleep(0.02)
        assert changes == [True]
        numbers = [h.cseq(r.headers).number for r in proxy.requests]
        assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256", "SHA-512-256"])
async def test_every_algorithm(algorithm: str) -> None:
    async with make_proxy() as proxy, agent(proxy, "alice") as alice:
        proxy.algorithm = algorithm
        await alice.register(60)
        assert alice.registered


async def test_registering_waits_for_a_server_that_starts_later() -> None:
    async with endpoint() as placeholder:
        address = placeholder.address
    async with endpoint() as ours:
        ua = UserAgent(
            ours, AOR, Credentials("cam", "x"), Target("tcp", *address), persistent=True, backoff=Backoff(0.05, 0.1)
        )
        await ua.start()
        waiting = asyncio.ensure_future(ua.register())
        await asyncio.sleep(0.2)
        assert not waiting.done()
        async with endpoint(port=address[1]) as server:
            server.serve(SmallProxy(server, {"cam": "x"}))
            await asyncio.wait_for(waiting, PATIENT_S)
            assert ua.registered
            await ua.close()


async def test_a_broken_flow_is_opened_again_and_registered_within_two_seconds() -> None:
    async with make_proxy() as proxy, agent(proxy, "alice", persistent=True) as alice:
        await alice.register()
        first = proxy.bindings["alice"]
        took = []
        for _ in range(3):
            broken = proxy.bindings["alice"]
            started = asyncio.get_running_loop().time()
            proxy.endpoint.disconnect(broken)
            await until(lambda broken=broken: proxy.bindings["alice"] != broken)  # type: ignore[misc]  # bound now
            took.append(asyncio.get_running_loop().time() - started)
        assert min(took) < 2.0, "a machine may stall in the others"
        assert broken != first
        assert (await proxy.endpoint.request(request("OPTIONS", user="alice"), proxy.bindings["alice"])).status == 200


async def test_requests_wait_for_a_flow_that_is_being_opened_again() -> None:
    async with make_proxy() as proxy, agent(proxy, "alice", persistent=True) as alice:
        await alice.register()
        proxy.endpoint.disconnect(proxy.bindings["alice"])
        await until(lambda: alice._keeper is not None and alice._keeper.flow is None)
        assert (await alice.request("OPTIONS", Uri.parse("sip:nobody@test"))).status == 404


async def test_a_server_that_hangs_up_at_once_is_not_hammered() -> None:
    accepted = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal accepted
        accepted += 1
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server, endpoint() as ours:
        target = Target("tcp", *server.sockets[0].getsockname())
        ua = UserAgent(ours, AOR, None, target, persistent=True, backoff=Backoff(0.1, 1.0), jitter=lambda: 1.0)
        began = asyncio.get_running_loop().time()
        await ua.start()
        await asyncio.sleep(0.5)
        await ua.close()
        late = asyncio.get_running_loop().time() - began - 0.5
        assert 1 <= accepted <= 4 + late / 0.4  # at 0, 0.1, 0.3, 0.7 …


async def test_an_outbound_that_cannot_be_resolved_is_an_error_at_the_start() -> None:
    async with endpoint() as ours:
        with pytest.raises(FlowError, match="resolved"):
            await UserAgent(ours, AOR, None, Target("udp", "no.such.host.invalid")).start()
    never_started = UserAgent(SipEndpoint("127.0.0.1", 0), AOR, None, Target("udp", "127.0.0.1"))
    await never_started.close()


# -- answers to challenges


def challenge(
    sent: Request, status: int, nonce: str, *, stale: bool = False, algorithms: tuple[str, ...] = (MD5,)
) -> Response:
    response = make_response(sent, status)
    for algorithm in algorithms:
        name = "WWW-Authenticate" if status == 401 else "Proxy-Authenticate"
        response.headers.add(name, str(make_challenge("r", nonce, algorithm, stale=stale)))
    return response


def test_one_answer_for_each_header_and_another_only_for_a_stale_nonce() -> None:
    authenticator = Authenticator(Credentials("u", "p"), lambda: "c")
    sent = request()
    attempt = authenticator.attempt()
    assert not attempt.answer(sent, make_response(sent, 403))
    assert attempt.answer(sent, challenge(sent, 407, "n1"))
    assert attempt.answer(sent, challenge(sent, 401, "n2"))
    assert len(h.authorizations(sent.headers)) == len(h.authorizations(sent.headers, "Proxy-Authorization")) == 1
    assert attempt.answer(sent, challenge(sent, 407, "n3", stale=True))
    assert not attempt.answer(sent, challenge(sent, 407, "n4", stale=True))
    assert not attempt.answer(sent, challenge(sent, 401, "n5"))
    later = request()
    later.method = "REGISTER"
    authenticator.prepare(later)  # what was refused is not offered again
    assert "Authorization" not in later.headers
    assert "Proxy-Authorization" not in later.headers


def test_an_accepted_challenge_is_answered_in_advance_with_a_rising_count() -> None:
    authenticator = Authenticator(Credentials("u", "p"), lambda: "c")
    sent = request()
    assert authenticator.attempt().answer(sent, challenge(sent, 401, "n1", algorithms=(SHA_256, MD5)))
    (first,) = h.authorizations(sent.headers)
    assert first.param("algorithm") == SHA_256
    later = request()
    later.method = "REGISTER"
    authenticator.prepare(later)
    (second,) = h.authorizations(later.headers)
    assert (first.param("nc"), second.param("nc")) == ("00000001", "00000002")
    call = request()
    call.method = "INVITE"
    authenticator.prepare(call)
    assert "Authorization" not in call.headers, "what the registrar asked is nobody else's"
    assert authenticator.attempt().answer(call, challenge(call, 407, "n2"))
    again = request()
    again.method = "INVITE"
    authenticator.prepare(again)
    assert "Proxy-Authorization" in again.headers
    assert "Authorization" not in again.headers


@pytest.mark.parametrize("value", ["Basic realm=x", "Digest", 'Digest realm="r", nonce="n", algorithm=FOO', ""])
def test_a_challenge_that_cannot_be_answered_is_left_alone(value: str) -> None:
    sent = request()
    response = make_response(sent, 401)
    response.headers.add("WWW-Authenticate", value)
    assert not Authenticator(Credentials("u", "p")).attempt().answer(sent, response)
    assert not Authenticator(None).attempt().answer(sent, challenge(sent, 401, "n"))
