"""Session timers between real user agents (RFC 4028). Time is not waited for: the timer is told a later `now`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from soip.net.call import Call, IncomingCall
from soip.net.errors import RequestRefusedError
from soip.net.exchange import IncomingRequest
from soip.net.ua import UserAgent
from soip.sip import headers as h
from soip.sip.errors import OfferError
from soip.sip.message import Request
from soip.sip.session import Policy
from soip.sip.uri import Uri
from tests.net.helpers import QUICK, Recorder, endpoint, request, udp, until
from tests.net.proxy import SmallProxy
from tests.net.test_ua import ANSWER, BOB, OFFER, Stage, make_proxy, stage


def later(call: Call, seconds: float) -> None:
    """What the timer of a call does `seconds` from now."""
    call._keeper.advance(asyncio.get_running_loop().time() + seconds)


def deadline(call: Call) -> float:
    """In how many seconds something is due."""
    due = call.session.next_deadline()
    assert due is not None
    return due - asyncio.get_running_loop().time()


def sent(stage: Stage, method: str) -> list[Request]:
    """The requests of a method that passed the proxy, without the challenged and the repeated ones."""
    found = {str(h.cseq(r.headers)): r for r in stage.proxy.requests if r.method == method}
    return list(found.values())


async def test_a_call_agrees_on_half_an_hour_and_the_caller_refreshes() -> None:
    async with stage() as s:
        mine, theirs = await s.up()
        invite = sent(s, "INVITE")[-1]
        assert invite.headers.get("Session-Expires") == "1800"
        assert "timer" in h.option_tags(invite.headers, "Supported")
        assert mine.session.interval == theirs.session.interval == 1800
        assert (mine.session.refreshing, theirs.session.refreshing) == (True, False)
        assert 890 < deadline(mine) <= 900
        assert 1750 < deadline(theirs) <= 1768


async def test_a_refresh_is_a_reinvite_that_changes_nothing() -> None:
    async with stage() as s:
        mine, theirs = await s.up()
        before = len(sent(s, "INVITE"))
        heard: list[bytes] = []
        theirs.on_reinvite(lambda offer: heard.append(offer) or ANSWER)  # type: ignore[func-returns-value]  # append
        later(mine, 900)
        await until(lambda: mine.session.next_deadline() is not None and 890 < deadline(mine) <= 900)
        assert heard == [OFFER]
        (refresh,) = sent(s, "INVITE")[before:]
        assert refresh.headers.get("Session-Expires") == "1800;refresher=uac"
        assert (mine.end, mine.remote_sdp) == (None, ANSWER)
        await until(lambda: theirs._unacknowledged is None)
        assert theirs.end is None


async def test_a_peer_that_allows_update_is_refreshed_by_one_without_a_body() -> None:
    async with stage() as s:
        mine, theirs = await s.up()
        mine.peer_allows |= {"UPDATE"}
        took: list[Request] = []

        async def take(incoming: IncomingRequest) -> None:
            took.append(incoming.request)
            status = 422 if len(took) == 1 else 200
            told = ("Min-SE", "2000") if status == 422 else ("Session-Expires", "2000;refresher=uac")
            incoming.reply(status, headers=[told, ("Contact", str(s.bob.contact))])

        theirs.on_request(take)
        later(mine, 900)
        await until(lambda: mine.session.interval == 2000)
        assert [r.method for r in took] == ["UPDATE", "UPDATE"]
        assert took[1].headers.get("Session-Expires") == "2000;refresher=uac"
        assert took[1].body == b""
        assert 990 < deadline(mine) <= 1000


async def test_an_update_to_us_is_405_since_we_do_not_allow_it() -> None:
    async with stage() as s:
        mine, theirs = await s.up()
        response = await mine.request("UPDATE")
        assert response.status == 405
        assert "UPDATE" not in h.option_tags(response.headers, "Allow")
        assert (mine.end, theirs.end) == (None, None)


async def test_who_is_not_refreshed_hangs_up() -> None:
    async with stage() as s:
        mine, theirs = await s.up()
        later(theirs, 1768)
        await until(lambda: mine.end is not None)
        assert mine.end is not None
        assert "not refreshed" in mine.end.reason
        assert theirs.end is not None
        assert s.proxy.seen[-1] == "BYE"


async def test_a_refresh_that_is_refused_is_tried_again_and_at_last_the_call_ends() -> None:
    async with stage() as s:
        mine, theirs = await s.up()

        def refuse(offer: bytes) -> bytes:
            raise OfferError("not now")

        theirs.on_reinvite(refuse)
        before = len(sent(s, "INVITE"))
        later(mine, 900)
        await until(lambda: mine.session._asks is not None)
        assert len(sent(s, "INVITE")) == before + 1
        assert 210 < deadline(mine) <= 225
        assert mine.end is None
        later(mine, 1768)
        await until(lambda: theirs.end is not None)
        assert theirs.end is not None
        assert "not refreshed" in theirs.end.reason


async def test_a_peer_that_is_gone_is_found_by_the_refresh() -> None:
    async with stage() as s:
        mine, _ = await s.up()
        s.bob._calls.clear()
        later(mine, 900)
        await until(lambda: mine.end is not None)
        assert s.alice.calls == ()


async def test_a_refresh_while_an_offer_is_under_way_waits() -> None:
    async with stage() as s:
        mine, theirs = await s.up()
        mine._offer_pending = True
        later(mine, 900)
        await until(lambda: mine.session._asks is not None)
        assert 210 < deadline(mine) <= 225
        mine._offer_pending = False
        later(mine, 226)
        await until(lambda: mine.session.next_deadline() is not None and deadline(mine) > 800)
        assert theirs.end is None


async def test_the_end_of_a_call_ends_its_timer() -> None:
    async with stage() as s:
        mine, theirs = await s.up()
        await mine.bye()
        assert mine._keeper._timer is None
        assert theirs._keeper._timer is None


# -- intervals that do not fit


@asynccontextmanager
async def careful(policy: Policy) -> AsyncIterator[Stage]:
    """A stage whose bob takes no short sessions."""
    async with stage() as s:
        s.bob.session = policy
        yield s


async def test_an_interval_that_is_too_short_is_asked_again() -> None:
    async with careful(Policy(interval=3600, minimum=2400)) as s:
        mine, theirs = await s.up()
        assert mine.session.interval == theirs.session.interval == 2400
        last = sent(s, "INVITE")[-1]
        assert (last.headers.get("Session-Expires"), last.headers.get("Min-SE")) == ("2400", "2400")
        assert mine.session.min_se == 2400, "what was told once holds for the dialog (§7.4)"
        assert len(s.incoming) == 1, "the handler saw none of it"


async def test_a_longer_interval_in_the_middle_of_a_call() -> None:
    async with stage() as s:
        mine, theirs = await s.up()
        s.bob.session = Policy(interval=3600, minimum=2000)
        theirs.session._policy = s.bob.session
        theirs.session.min_se = 2000
        later(mine, 900)
        await until(lambda: mine.session.interval == 2000)
        assert theirs.session.interval == 2000
        await until(lambda: theirs._unacknowledged is None)


async def test_who_never_is_content_refuses_at_last() -> None:
    async with stage() as s:
        asked: list[int] = []

        async def never(incoming: IncomingRequest) -> None:
            expires = h.session_expires(incoming.request.headers)
            assert expires is not None
            asked.append(expires.seconds)
            incoming.reply(422, headers=[("Min-SE", str(expires.seconds + 100))])

        s.bob.endpoint.unserve("bob")
        s.bob.endpoint.serve(Recorder(never), "bob")
        with pytest.raises(RequestRefusedError) as refused:
            await s.alice.invite(BOB, OFFER)
        assert refused.value.status == 422
        assert asked == [1800, 1900, 2000, 2100, 2200]


@pytest.mark.parametrize(
    "lines",
    [
        [("Session-Expires", "soon")],
        [("Session-Expires", "1800"), ("Session-Expires", "1800")],
        [("Min-SE", "x")],
        [("Session-Expires", "1800;refresher=nobody")],
    ],
)
async def test_a_session_that_cannot_be_read_is_400(lines: list[tuple[str, str]]) -> None:
    async with make_proxy() as proxy, endpoint(timers=QUICK) as ours:
        bob = UserAgent(ours, Uri.parse("sip:bob@test"), None, proxy.target)

        async def nobody(call: IncomingCall) -> None:
            raise AssertionError

        bob.on_invite(nobody)
        await bob.start()
        assert (await _refused(proxy, ours, lines)) == 400
        await bob.close()


async def _refused(proxy: SmallProxy, ours: object, lines: list[tuple[str, str]]) -> int:
    """The status of an INVITE with these lines, from the proxy to bob."""
    invite = request("INVITE")
    invite.headers.add("Supported", "timer")
    for name, value in lines:
        invite.headers.add(name, value)
    return (await proxy.endpoint.request(invite, udp(ours))).status  # type: ignore[arg-type]  # an endpoint


@pytest.mark.parametrize("name", ["Allow", "Session-Expires", "Supported"])
async def test_an_answer_with_a_line_that_cannot_be_read_is_still_a_call(name: str) -> None:
    async with stage() as s:

        async def answer(call: IncomingCall) -> None:
            s.answered.append(call.answer(ANSWER, [(name, 'a, "b')]))

        s.bob.on_invite(answer)
        mine = await s.alice.invite(BOB, OFFER)
        assert mine.end is None
        await mine.bye()


# -- peers without timers


async def test_a_caller_without_timers_is_asked_by_options_and_not_told_of_sessions() -> None:
    async with stage() as s:
        s.bob.on_invite(s.answer)
        answered = await s.proxy.endpoint.send(request("INVITE"), udp(s.bob.endpoint))
        response = await answered.final()
        assert response.headers.get("Session-Expires") is None
        assert response.headers.get("Require") is None
        (call,) = s.answered
        assert call.session.interval is None
        assert 890 < deadline(call) <= 900


async def test_a_called_side_without_timers_is_asked_by_options() -> None:
    async with stage() as s:
        mine, theirs = await s.up()
        mine.session.answered(asyncio.get_running_loop().time())  # as after a 2xx that says nothing of sessions
        assert mine.session.interval is None
        later(mine, 900)
        await until(lambda: "OPTIONS" in s.proxy.seen and mine.session.next_deadline() is not None)
        assert (mine.end, theirs.end) == (None, None)
        assert 890 < deadline(mine) <= 900
        s.bob._calls.clear()
        later(mine, 900)
        await until(lambda: mine.end is not None)
