"""User agents calling each other through a small Record-Routing proxy, over UDP and over a persistent flow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby

import pytest

from soip.net.backoff import Backoff
from soip.net.call import Call, CallEnd, IncomingCall
from soip.net.errors import AuthError, CallEndedError, NetError, RequestRefusedError, RequestTimeoutError
from soip.net.exchange import IncomingRequest
from soip.net.ua import UserAgent
from soip.sip import headers as h
from soip.sip.dialog import Dialog
from soip.sip.digest import Credentials
from soip.sip.errors import OfferError
from soip.sip.message import Request, Response
from soip.sip.timers import Timers
from soip.sip.uri import Uri
from tests.net.helpers import CALM, PATIENT_S, QUICK, endpoint, request, udp, until
from tests.net.proxy import SmallProxy

OFFER, ANSWER = b"v=0\r\no=offer\r\n", b"v=0\r\no=answer\r\n"
BOB = Uri.parse("sip:bob@test")


@dataclass
class Stage:
    """A proxy, alice and bob, both registered; bob's incoming calls are kept."""

    proxy: SmallProxy
    alice: UserAgent
    bob: UserAgent
    incoming: list[IncomingCall] = field(default_factory=list)
    answered: list[Call] = field(default_factory=list)

    async def answer(self, call: IncomingCall) -> None:
        self.incoming.append(call)
        call.ring()
        self.answered.append(call.answer(ANSWER))

    async def up(self) -> tuple[Call, Call]:
        """An established call: alice's and bob's end of it."""
        self.bob.on_invite(self.answer)
        mine = await self.alice.invite(BOB, OFFER)
        theirs = self.answered[-1]
        await theirs.confirmed()
        return mine, theirs


@asynccontextmanager
async def agent(
    proxy: SmallProxy, user: str, *, persistent: bool = False, password: str = "", timers: Timers = CALM
) -> AsyncIterator[UserAgent]:
    async with endpoint(timers=timers) as ours:
        made = UserAgent(
            ours,
            Uri("sip", user, "test"),
            Credentials(user, password or proxy.passwords.get(user, "?")),
            proxy.tcp if persistent else proxy.target,
            persistent=persistent,
            backoff=Backoff(0.05, 0.2),
        )
        await made.start()
        try:
            yield made
        finally:
            await made.close()


@asynccontextmanager
async def make_proxy(timers: Timers = CALM) -> AsyncIterator[SmallProxy]:
    async with endpoint(timers=timers) as server:
        proxy = SmallProxy(server, {"alice": "wonder", "bob": "builder"})
        server.serve(proxy)
        yield proxy


@asynccontextmanager
async def stage(*, persistent: bool = False, timers: Timers = CALM) -> AsyncIterator[Stage]:
    async with (
        make_proxy(timers) as proxy,
        agent(proxy, "alice", persistent=persistent, timers=timers) as alice,
        agent(proxy, "bob", timers=timers) as bob,
    ):
        await alice.register()
        await bob.register()
        yield Stage(proxy, alice, bob)


@pytest.mark.parametrize("persistent", [False, True], ids=["udp", "tcp flow"])
async def test_a_call_from_invite_to_bye(persistent: bool) -> None:
    async with stage(persistent=persistent) as s:
        seen: list[int] = []
        s.bob.on_invite(s.answer)
        call = await s.alice.invite(BOB, OFFER, on_provisional=lambda r: seen.append(r.status))
        assert 180 in seen
        assert call.remote_sdp == ANSWER
        (incoming,) = s.incoming
        assert (incoming.offer, incoming.user, incoming.caller) == (OFFER, "bob", "sip:alice@test")
        (theirs,) = s.answered
        await theirs.confirmed()
        assert theirs.peer_identity == "<sip:alice@test>"
        assert len(call.dialog.route_set) == len(theirs.dialog.route_set) == 1
        ends: list[CallEnd] = []
        theirs.on_end(ends.append)
        await call.bye('SIP;cause=200;text="done"')
        await call.bye()
        assert ends == [CallEnd(True, 'SIP;cause=200;text="done"')]
        assert call.end == CallEnd(False, 'SIP;cause=200;text="done"')
        assert s.alice.calls == s.bob.calls == ()
        # ACKs may be repeated: bob's 200 is, when a busy machine takes longer than T1
        assert [method for method, _ in groupby(s.proxy.seen)][-3:] == ["INVITE", "ACK", "BYE"]
        late: list[CallEnd] = []
        theirs.on_end(late.append)
        assert late == ends


@pytest.mark.parametrize("persistent", [False, True], ids=["udp", "tcp flow"])
async def test_the_called_side_hangs_up(persistent: bool) -> None:
    async with stage(persistent=persistent) as s:
        mine, theirs = await s.up()
        await theirs.bye("Q.850;cause=16")
        assert mine.end == CallEnd(True, "Q.850;cause=16")


@pytest.mark.parametrize("persistent", [False, True], ids=["udp", "tcp flow"])
async def test_requests_in_the_dialog_both_ways(persistent: bool) -> None:
    async with stage(persistent=persistent) as s:
        mine, theirs = await s.up()
        got: list[Request] = []

        async def take(incoming: IncomingRequest) -> None:
            got.append(incoming.request)
            incoming.reply(200, headers=[("Scale", "1")], body=b"ok", content_type="text/plain")

        theirs.on_request(take)
        response = await mine.request("INFO", b"PLAY", "Application/MANSRTSP", [("X-Test", "1")])
        assert (response.status, response.body, response.headers.get("Scale")) == (200, b"ok", "1")
        assert (got[0].body, got[0].headers.get("Content-Type")) == (b"PLAY", "Application/MANSRTSP")
        assert (await theirs.request("MESSAGE", b"x")).status == 405
        assert (await theirs.request("OPTIONS")).status == 200
        mine.on_request(take)
        assert (await theirs.request("MESSAGE", b"x")).status == 200


async def test_reinvite_moves_the_media_and_a_refused_one_leaves_it() -> None:
    async with stage() as s:
        mine, theirs = await s.up()
        assert await mine.reinvite(b"offer 2") == ANSWER  # without a handler: what is in force
        assert (theirs.remote_sdp, mine.local_sdp) == (b"offer 2", b"offer 2")
        await until(lambda: theirs._unacknowledged is None)

        def answer(offer: bytes) -> bytes:
            if offer == b"bad":
                raise OfferError("no common codec")
            return b"answer to " + offer

        theirs.on_reinvite(answer)
        assert await mine.reinvite(b"offer 3") == b"answer to offer 3"
        await until(lambda: theirs._unacknowledged is None)
        with pytest.raises(RequestRefusedError) as refused:
            await mine.reinvite(b"bad")
        assert refused.value.status == 488
        assert "no common codec" in (refused.value.response.headers.get("Warning") or "")
        assert (mine.remote_sdp, mine.end) == (b"answer to offer 3", None)
        await mine.bye()
        for late in (mine.reinvite(b"x"), mine.request("INFO")):
            with pytest.raises((CallEndedError,)):
                await late


async def test_offers_that_cross_are_refused_491_and_come_again_one_after_the_other() -> None:
    async with stage() as s:
        mine, theirs = await s.up()
        answers = await asyncio.gather(mine.reinvite(b"a"), theirs.reinvite(b"b"))
        assert all(answers)
        assert (mine.end, theirs.end) == (None, None)
        invites = [r for r in s.proxy.requests if r.method == "INVITE" and r.body in (b"a", b"b")]
        assert len({(r.body, r.headers.get("CSeq")) for r in invites}) > 2, "at least one was repeated"


async def test_an_offer_that_always_crosses_is_given_up() -> None:
    async with stage() as s:
        mine, theirs = await s.up()
        mine.dialog.initiated = False  # the shorter pause, and no chance in it
        s.alice._jitter = lambda: 0.0
        theirs._offer_pending = True
        with pytest.raises(RequestRefusedError) as refused:
            await mine.reinvite(b"a")
        assert refused.value.status == 491
        assert len({r.headers.get("CSeq") for r in s.proxy.requests if r.body == b"a"}) == 6
        assert mine.end is None


async def test_an_offer_asked_for_in_the_call_is_answered_in_the_ack() -> None:
    async with stage() as s:
        mine, theirs = await s.up()
        answers: list[bytes] = []
        theirs.on_reinvite(lambda offer: b"bob offers" if not offer else ANSWER)
        theirs.on_answer(answers.append)
        reinvite = mine.dialog.request("INVITE")
        outgoing = await s.alice.endpoint.send(reinvite, s.alice.outbound)
        response = await outgoing.final()
        assert (response.status, response.body) == (200, b"bob offers")
        ack = mine.dialog.ack(h.cseq(reinvite.headers).number)
        ack.body = b"alice answers"
        await s.alice.endpoint.send_stateless(ack, s.alice.outbound)
        await until(lambda: answers == [b"alice answers"])
        assert theirs.remote_sdp == b"alice answers"
        assert theirs.end is None


async def test_an_unusable_answer_in_the_ack_ends_the_call() -> None:
    async with stage() as s:
        mine, theirs = await s.up()

        def unusable(answer: bytes) -> None:
            raise OfferError("nothing fits")

        theirs.on_answer(unusable)
        reinvite = mine.dialog.request("INVITE")
        await (await s.alice.endpoint.send(reinvite, s.alice.outbound)).final()
        ack = mine.dialog.ack(h.cseq(reinvite.headers).number)
        ack.body = b"?"
        await s.alice.endpoint.send_stateless(ack, s.alice.outbound)
        await until(lambda: mine.end is not None)
        assert mine.end is not None
        assert "unusable answer" in mine.end.reason


async def test_a_delayed_offer_both_ways() -> None:
    async with stage() as s:

        async def offer(call: IncomingCall) -> None:
            assert call.offer == b""
            s.answered.append(call.answer(OFFER))

        s.bob.on_invite(offer)
        mine = await s.alice.invite(BOB, b"", answerer=lambda theirs: b"answer to " + theirs)
        (theirs,) = s.answered
        await theirs.confirmed()
        assert theirs.remote_sdp == mine.local_sdp == b"answer to " + OFFER
        assert mine.remote_sdp == OFFER


async def test_an_offer_that_cannot_be_answered_is_acknowledged_and_hung_up() -> None:
    async with stage() as s:
        s.bob.on_invite(s.answer)

        def refuse(offer: bytes) -> bytes:
            raise OfferError("nothing fits")

        with pytest.raises(NetError, match="nothing fits"):
            await s.alice.invite(BOB, b"", answerer=refuse)
        with pytest.raises(NetError, match="no answerer"):
            await s.alice.invite(BOB, b"")
        await until(lambda: all(call.end is not None for call in s.answered))
        assert s.proxy.seen.count("BYE") == 2


async def test_refusals_carry_status_and_warning() -> None:
    async with stage() as s:

        async def refuse(call: IncomingCall) -> None:
            call.reject(488, "no H.264 in the offer")

        with pytest.raises(RequestRefusedError) as nobody:
            await s.alice.invite(BOB, OFFER)
        assert nobody.value.status == 480
        s.bob.on_invite(refuse)
        with pytest.raises(RequestRefusedError) as refused:
            await s.alice.invite(BOB, OFFER)
        assert refused.value.status == 488
        assert "no H.264 in the offer" in (refused.value.response.headers.get("Warning") or "")
        with pytest.raises(RequestRefusedError) as unknown:
            await s.alice.invite(Uri.parse("sip:nobody@test"), OFFER)
        assert unknown.value.status == 404


async def test_a_handler_that_fails_rejects_the_call(caplog: pytest.LogCaptureFixture) -> None:
    async with stage() as s:

        async def fail(call: IncomingCall) -> None:
            raise RuntimeError("a bug")

        s.bob.on_invite(fail)
        with pytest.raises(RequestRefusedError) as refused:
            await s.alice.invite(BOB, OFFER)
        assert refused.value.status == 500
        assert "a bug" in caplog.text


async def test_a_call_nobody_answers_is_cancelled() -> None:
    async with stage() as s:
        cancelled = asyncio.Event()

        async def ring(call: IncomingCall) -> None:
            s.incoming.append(call)
            call.on_cancel(cancelled.set)
            call.ring()

        s.bob.on_invite(ring)
        with pytest.raises(RequestTimeoutError, match="not answered"):
            await s.alice.invite(BOB, OFFER, within=1.5)
        await asyncio.wait_for(cancelled.wait(), PATIENT_S)
        with pytest.raises(CallEndedError):
            s.incoming[0].answer(ANSWER)
        s.incoming[0].reject(486)  # ignored
        assert s.incoming[0].answered
        assert s.alice.calls == s.bob.calls == ()


async def test_a_call_that_is_never_answered_ends_at_both_sides() -> None:
    async with stage(timers=replace(CALM, c=1.0)) as s:

        async def ignore(call: IncomingCall) -> None:
            s.incoming.append(call)

        s.bob.on_invite(ignore)
        with pytest.raises(RequestRefusedError) as refused:
            await s.alice.invite(BOB, OFFER)
        assert refused.value.status in (480, 487)  # bob's own limit, or timer C of the proxy, which are the same here
        assert s.incoming[0].answered


async def test_cancelling_the_task_cancels_the_call() -> None:
    async with stage() as s:
        ringing, cancelled = asyncio.Event(), asyncio.Event()

        async def ring(call: IncomingCall) -> None:
            call.on_cancel(cancelled.set)
            call.ring()
            ringing.set()

        s.bob.on_invite(ring)
        task = asyncio.ensure_future(s.alice.invite(BOB, OFFER))
        await ringing.wait()
        task.cancel()
        await asyncio.wait_for(cancelled.wait(), PATIENT_S)
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_an_answer_that_crosses_the_cancel_is_acknowledged_and_hung_up() -> None:
    """The proxy swallows the CANCEL: bob answers a call alice has given up."""
    async with stage() as s:
        gave_up = asyncio.Event()

        async def answer_late(call: IncomingCall) -> None:
            call.ring()
            await gave_up.wait()
            s.answered.append(call.answer(ANSWER))

        s.bob.on_invite(answer_late)
        s.proxy.pass_cancel = False
        with pytest.raises(RequestTimeoutError):
            await s.alice.invite(BOB, OFFER, within=1.5)
        gave_up.set()
        await until(lambda: s.answered and s.answered[0].end is not None)
        assert s.answered[0].end is not None
        assert "not wanted" in s.answered[0].end.reason
        await until(lambda: s.alice.calls == ())


async def test_a_wrong_password_is_an_auth_error_after_one_answer() -> None:
    async with make_proxy() as proxy, agent(proxy, "alice", password="wrong") as alice:
        with pytest.raises(AuthError):
            await alice.invite(BOB, OFFER)
        with pytest.raises(AuthError) as refused:
            await alice.register()
        assert refused.value.status == 401
        assert proxy.seen == ["INVITE", "INVITE", "REGISTER", "REGISTER"]
        assert not alice.registered


async def test_without_an_ack_the_call_ends() -> None:
    async with stage(timers=QUICK) as s:
        s.bob.on_invite(s.answer)
        s.proxy.ack = lambda request, flow: None  # type: ignore[method-assign]  # a proxy that loses ACKs
        await s.alice.invite(BOB, OFFER)
        (theirs,) = s.answered
        with pytest.raises(CallEndedError):
            await theirs.confirmed()
        await until(lambda: theirs.end is not None)
        assert theirs.end is not None
        assert "no ACK" in theirs.end.reason
        await until(lambda: s.alice.calls == ())


async def test_a_bye_before_the_ack_waits_for_it() -> None:
    async with stage() as s:
        bye: list[asyncio.Future[None]] = []

        async def answer_and_hang_up(call: IncomingCall) -> None:
            answered = call.answer(ANSWER)
            bye.append(asyncio.ensure_future(answered.bye()))

        s.bob.on_invite(answer_and_hang_up)
        call = await s.alice.invite(BOB, OFFER)
        await bye[0]
        assert call.end is not None
        assert s.proxy.seen[-2:] == ["ACK", "BYE"]


async def test_a_peer_that_has_forgotten_the_call_ends_it() -> None:
    async with stage() as s:
        mine, theirs = await s.up()
        s.bob._calls.clear()
        assert (await mine.request("INFO")).status == 481
        assert mine.end is not None
        assert s.alice.calls == ()
        assert theirs.end is None


async def test_a_peer_that_cannot_be_reached_any_more_ends_the_call() -> None:
    async with stage() as s:
        mine, theirs = await s.up()

        async def gone(incoming: IncomingRequest) -> None:
            incoming.reply(480)

        theirs.on_request(gone)
        assert (await mine.request("OPTIONS")).status == 480
        assert mine.end is not None
        assert "480" in mine.end.reason


async def test_only_the_proxy_may_call() -> None:
    async with stage() as s, endpoint() as stranger:
        s.bob.on_invite(s.answer)
        before = s.bob.endpoint.transactions
        for method in ("INVITE", "MESSAGE", "OPTIONS"):
            assert (await stranger.request(request(method), udp(s.bob.endpoint))).status == 403
        in_dialog = request("INFO")
        in_dialog.headers.set("To", "<sip:bob@test>;tag=made-up")
        assert (await stranger.request(in_dialog, udp(s.bob.endpoint))).status == 403
        assert s.answered == []
        assert s.bob.endpoint.transactions == before, "of a stranger nothing is kept"


async def test_who_has_seen_a_dialog_on_the_wire_cannot_end_it() -> None:
    async with stage() as s, endpoint() as stranger:
        mine, theirs = await s.up()
        bye = request("BYE")
        for name, value in (
            ("Call-ID", mine.dialog.id.call_id),
            ("From", f"{mine.dialog.local};tag={mine.dialog.id.local_tag}"),
            ("To", f"{mine.dialog.remote};tag={mine.dialog.id.remote_tag}"),
            ("CSeq", "99 BYE"),
        ):
            bye.headers.set(name, value)
        assert (await stranger.request(bye, udp(s.bob.endpoint))).status == 403
        assert theirs.end is None


async def test_what_we_do_not_support_is_420_and_options_tells_what_we_do() -> None:
    async with stage() as s:
        s.bob.on_invite(s.answer)
        with pytest.raises(RequestRefusedError) as refused:
            await s.alice.invite(BOB, OFFER, headers=[("Require", "100rel")])
        assert refused.value.status == 420
        assert refused.value.response.headers.get("Unsupported") == "100rel"
        options = await s.alice.request("OPTIONS", BOB)
        assert "INVITE" in h.option_tags(options.headers, "Allow")


async def test_what_we_do_not_support_is_420_inside_a_call_too() -> None:
    async with stage() as s:
        mine, theirs = await s.up()
        for method in ("INFO", "INVITE", "BYE"):
            response = await mine.request(method, headers=[("Require", "100rel, timer")])
            assert response.status == 420
            assert response.headers.get("Unsupported") == "100rel"
        assert (mine.end, theirs.end) == (None, None)
        assert (await mine.request("OPTIONS", headers=[("Require", "timer, replaces")])).status == 200


async def test_an_offer_that_is_no_sdp_is_415() -> None:
    async with stage() as s:
        s.bob.on_invite(s.answer)
        response = await s.alice.request("INVITE", BOB, b"hello", "text/plain", [("Contact", str(s.alice.contact))])
        assert response.status == 415
        assert response.headers.get("Accept") == "application/sdp"
        mine, theirs = await s.up()
        assert (await mine.request("INVITE", b"hello", "text/plain")).status == 415
        assert (mine.end, theirs.end) == (None, None)


async def test_a_bye_in_the_early_dialog_gives_the_call_up() -> None:
    """RFC 3261 §15: the caller may, instead of a CANCEL."""
    async with stage() as s:
        gone, ringing = asyncio.Event(), asyncio.get_running_loop().create_future()

        async def ring(call: IncomingCall) -> None:
            call.ring()
            call.on_cancel(gone.set)
            await gone.wait()
            with pytest.raises(CallEndedError):
                call.answer(ANSWER)
            call.on_cancel(lambda: s.incoming.append(call))

        def progress(response: Response) -> None:
            if response.status == 180 and not ringing.done():
                ringing.set_result(response)

        s.bob.on_invite(ring)
        calling = asyncio.ensure_future(s.alice.invite(BOB, OFFER, on_provisional=progress))
        response = await ringing
        early = Dialog.uac(s.proxy.requests[-1], response)
        assert not early.confirmed
        early.local_cseq = 50
        assert (await s.alice._exchange_in(early, early.request("MESSAGE"))).status == 405
        assert (await s.alice._exchange_in(early, early.request("BYE"))).status == 200
        with pytest.raises(RequestRefusedError) as refused:
            await calling
        assert refused.value.status == 487
        assert len(s.incoming) == 1
        assert (await s.alice._exchange_in(early, early.request("BYE"))).status == 481
        assert s.bob._early == {}


async def test_both_sides_hang_up_at_once() -> None:
    async with stage() as s:
        mine, theirs = await s.up()
        await asyncio.gather(mine.bye(), theirs.bye())
        assert mine.end is not None
        assert theirs.end is not None
        assert s.alice.calls == s.bob.calls == ()
        assert s.alice._calls == s.bob._calls == {}


async def test_messages_outside_a_dialog() -> None:
    async with stage() as s:
        assert (await s.alice.request("MESSAGE", BOB, b"hi", "text/plain")).status == 405
        got: list[bytes] = []

        async def take(incoming: IncomingRequest) -> None:
            got.append(incoming.request.body)
            incoming.reply(200)

        s.bob.on_message(take)
        assert (await s.alice.request("MESSAGE", BOB, b"hi", "text/plain")).status == 200
        assert got == [b"hi"]
        # The challenge of the first request serves the second: no other 407.
        assert s.proxy.seen.count("MESSAGE") == 3


async def test_without_record_route_requests_go_straight_to_the_contact() -> None:
    async with stage() as s:
        s.proxy.record_route = False
        mine, theirs = await s.up()
        before = len(s.proxy.seen)
        assert (await mine.request("OPTIONS")).status == 200
        await mine.bye()
        assert theirs.end is not None
        assert s.proxy.seen[before:] == []


async def test_the_same_invite_by_two_ways_is_answered_482_once() -> None:
    async with stage() as s:
        hold = asyncio.Event()

        async def wait(call: IncomingCall) -> None:
            s.incoming.append(call)
            await hold.wait()
            call.reject(486)

        s.bob.on_invite(wait)
        invite = request("INVITE")
        first = await s.proxy.endpoint.send(invite, udp(s.bob.endpoint))
        await until(lambda: s.incoming)
        assert (await s.proxy.endpoint.request(invite, udp(s.bob.endpoint))).status == 482
        hold.set()
        assert (await first.final()).status == 486


async def test_closing_hangs_up_and_unregisters() -> None:
    async with stage() as s:
        mine, theirs = await s.up()
        await s.alice.close()
        await s.alice.close()
        assert mine.end is not None
        assert theirs.end is not None
        assert "alice" not in s.proxy.bindings
        assert not s.alice.registered


async def test_one_endpoint_serves_many_agents() -> None:
    async with make_proxy() as proxy, endpoint() as shared, agent(proxy, "alice") as alice:
        agents: list[UserAgent] = []
        called: list[str] = []
        for number in range(5):
            user = f"cam-{number}"
            proxy.passwords[user] = "x"
            made = UserAgent(shared, Uri("sip", user, "test"), Credentials(user, "x"), proxy.target)

            async def answer(call: IncomingCall, user: str = user) -> None:
                called.append(user)
                call.answer(ANSWER)

            made.on_invite(answer)
            await made.start()
            agents.append(made)
        await asyncio.gather(*[made.register() for made in agents])
        for number in (3, 1):
            call = await alice.invite(Uri("sip", f"cam-{number}", "test"), OFFER)
            await call.bye()
        assert called == ["cam-3", "cam-1"]
        await asyncio.gather(*[made.close() for made in agents])
        assert set(proxy.bindings) == set()
