"""REFER between real user agents (RFC 3515): accepted, told of, ended; inside a call and outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from soip.net import referral, ua
from soip.net.call import Call
from soip.net.exchange import IncomingRequest
from soip.net.referral import Referral
from soip.sip import headers as h
from soip.sip.dialog import Dialog
from soip.sip.errors import DialogError
from soip.sip.message import Request, Response
from tests.net.helpers import Recorder, until
from tests.net.test_ua import BOB, Stage, stage

TARGET = ("Refer-To", "<sip:carol@test>")


@dataclass
class Told:
    """What alice's side is told: the NOTIFYs of one REFER, answered with `status`."""

    notifies: list[Request] = field(default_factory=list)
    status: int = 200

    async def take(self, incoming: IncomingRequest) -> None:
        self.notifies.append(incoming.request)
        incoming.reply(self.status)

    @property
    def lines(self) -> list[str]:
        """The status lines that were told."""
        return [request.body.decode().strip() for request in self.notifies]

    @property
    def states(self) -> list[str]:
        return [(request.headers.get("Subscription-State") or "").partition(";expires")[0] for request in self.notifies]


@dataclass
class Referred:
    """Bob takes what alice refers; `told` is what comes back."""

    stage: Stage
    told: Told = field(default_factory=Told)
    referrals: list[Referral] = field(default_factory=list)
    accepts: bool = True

    async def take(self, referral: Referral) -> None:
        self.referrals.append(referral)
        if self.accepts:
            referral.accept()

    async def send(self, *lines: tuple[str, str], contact: bool = True) -> tuple[Response, Request]:
        """A REFER outside of a call, with its challenge answered; the request as it was taken is given too."""
        alice = self.stage.alice
        own = [("Contact", str(alice.contact))] if contact else []
        request = alice._new_request("REFER", BOB, b"", "", [*own, *lines])
        return await alice._exchange(request), request


@asynccontextmanager
async def referred() -> AsyncIterator[Referred]:
    async with stage() as s:
        made = Referred(s)
        s.bob.on_refer(made.take)
        # NOTIFYs of a dialog that alice's agent does not keep: a handler of the test's own takes them.
        s.alice.endpoint.unserve("alice")
        s.alice.endpoint.serve(Recorder(made.told.take), "alice")
        yield made


async def test_who_takes_no_refer_says_so() -> None:
    async with stage() as s:
        response = await s.alice.request("REFER", BOB, headers=[TARGET])
        assert response.status == 405
        assert "REFER" not in h.option_tags(response.headers, "Allow")
        mine, theirs = await s.up()
        assert (await mine.request("REFER", headers=[TARGET])).status == 405
        assert (mine.end, theirs.end) == (None, None)


async def test_a_refer_is_accepted_and_its_progress_told_to_the_end() -> None:
    async with referred() as r:
        response, _ = await r.send(TARGET)
        assert response.status == 202
        assert "REFER" in h.option_tags(response.headers, "Allow")
        (taken,) = r.referrals
        assert (str(taken.target.uri), taken.user, str(taken.caller)) == ("sip:carol@test", "bob", "sip:alice@test")
        await until(lambda: r.told.lines == ["SIP/2.0 100 Trying"])
        taken.tell(180)
        await until(lambda: len(r.told.lines) == 2)
        taken.finish(200)
        taken.finish(503)
        taken.tell(500)
        await until(lambda: len(r.told.lines) == 3)
        assert r.told.lines == ["SIP/2.0 100 Trying", "SIP/2.0 180 Ringing", "SIP/2.0 200 OK"]
        assert r.told.states == ["active", "active", "terminated;reason=noresource"]
        for notify in r.told.notifies:
            assert notify.headers.get("Event") == "refer"
            assert h.content_type(notify.headers) == "message/sipfrag"
            assert len(notify.headers.get_all("Via")) == 2, "by way of the proxy, as the REFER came"
        await until(lambda: not r.stage.bob._referrals)


async def test_the_newest_status_is_told_and_none_in_between() -> None:
    async with referred() as r:
        await r.send(TARGET)
        (taken,) = r.referrals
        for status in range(181, 190):
            taken.tell(status, f"step {status}")
        taken.finish(486)
        await until(lambda: r.told.states[-1:] == ["terminated;reason=noresource"])
        assert r.told.lines[-1] == "SIP/2.0 486 Busy Here"
        assert len(r.told.lines) <= 3


async def test_who_does_not_listen_any_more_is_told_nothing_more() -> None:
    async with referred() as r:
        r.told.status = 481
        await r.send(TARGET)
        await until(lambda: r.told.lines and not r.stage.bob._referrals)
        r.referrals[0].tell(180)
        r.referrals[0].finish(200)
        await asyncio.sleep(0)
        assert r.told.lines == ["SIP/2.0 100 Trying"]


async def test_a_subscription_is_ended_by_its_subscriber() -> None:
    async with referred() as r:
        response, request = await r.send(TARGET)
        dialog = Dialog.uac(request, response)
        dialog.local_cseq = 20
        for expires, wanted in (("600", range(100, 181)), ("0", range(1))):
            subscribe = dialog.request("SUBSCRIBE")
            subscribe.headers.add("Event", "refer")
            subscribe.headers.add("Expires", expires)
            answer = await r.stage.alice._exchange_in(dialog, subscribe)
            assert answer.status == 200
            assert h.expires(answer.headers) in wanted
        await until(lambda: r.told.states[-1:] == ["terminated;reason=timeout"])
        await until(lambda: not r.stage.bob._referrals)
        again = await r.stage.alice._exchange_in(dialog, dialog.request("SUBSCRIBE"))
        assert again.status == 481


async def test_other_requests_in_the_dialog_of_a_refer() -> None:
    async with referred() as r:
        response, request = await r.send(TARGET)
        dialog = Dialog.uac(request, response)
        dialog.local_cseq = 20
        answers = {}
        for method, event in (("SUBSCRIBE", "presence"), ("SUBSCRIBE", "refer;id=7"), ("SUBSCRIBE", ""), ("INFO", "")):
            asked = dialog.request(method)
            if event:
                asked.headers.add("Event", event)
            answers[method, event] = (await r.stage.alice._exchange_in(dialog, asked)).status
        assert list(answers.values()) == [481, 481, 489, 405]
        assert len(r.referrals) == 1


async def test_it_ends_by_itself_when_nobody_finishes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(referral, "LIFETIME_S", 0.3)
    async with referred() as r:
        await r.send(TARGET)
        await until(lambda: not r.stage.bob._referrals)
        assert r.told.states[-1] == "terminated;reason=timeout"


async def test_a_refer_inside_a_call_shares_its_dialog() -> None:
    async with stage() as s:
        mine, theirs = await s.up()
        told, r = Told(), Referred(s)
        s.bob.on_refer(r.take)
        mine.on_request(told.take)
        refer = mine.dialog.request("REFER")
        refer.headers.add(*TARGET)
        refer.headers.add("Contact", str(s.alice.contact))
        response = await s.alice._exchange_in(mine.dialog, refer)
        assert response.status == 202
        (taken,) = r.referrals
        assert taken.call is theirs
        assert str(taken.caller) == "sip:alice@test", "the other end of the call"
        taken.finish(603)
        await until(lambda: told.states[-1:] == ["terminated;reason=noresource"])
        number = h.cseq(refer.headers).number
        assert {notify.headers.get("Event") for notify in told.notifies} == {f"refer;id={number}"}
        assert (mine.end, theirs.end) == (None, None)
        await _ended_both(mine, theirs)


async def _ended_both(mine: Call, theirs: Call) -> None:
    await mine.bye()
    assert theirs.end is not None


@pytest.mark.parametrize(
    "lines", [[], [TARGET, TARGET], [("Refer-To", "")], [("Refer-To", "<sip:a@b>, <sip:c@d>")], [("r", "<sip:")]]
)
async def test_a_refer_without_one_readable_target_is_400(lines: list[tuple[str, str]]) -> None:
    async with referred() as r:
        assert (await r.send(*lines))[0].status == 400
        assert r.referrals == []


async def test_a_refer_that_makes_no_dialog_is_400(caplog: pytest.LogCaptureFixture) -> None:
    async with referred() as r:

        async def take(referral: Referral) -> None:
            with pytest.raises(DialogError):
                referral.accept()

        r.stage.bob.on_refer(take)
        assert (await r.send(TARGET, contact=False))[0].status == 400
        assert not r.stage.bob._referrals


async def test_a_refusal_says_why_and_tells_nothing() -> None:
    async with referred() as r:

        async def take(referral: Referral) -> None:
            referral.reject(603, "not today")

        r.stage.bob.on_refer(take)
        response, _ = await r.send(TARGET)
        assert response.status == 603
        assert "not today" in (response.headers.get("Warning") or "")
        assert r.told.notifies == []


async def test_only_so_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ua, "REFERRALS", 2)
    async with referred() as r:
        assert [(await r.send(TARGET))[0].status for _ in range(3)] == [202, 202, 503]
        r.referrals[0].finish(200)
        await until(lambda: len(r.stage.bob._referrals) == 1)
        assert (await r.send(TARGET))[0].status == 202


async def test_what_is_required_and_not_there_is_420() -> None:
    async with referred() as r:
        response, _ = await r.send(TARGET, ("Require", "norefersub"))
        assert (response.status, response.headers.get("Unsupported")) == (420, "norefersub")
