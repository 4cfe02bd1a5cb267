"""The ladder in virtual time: what is kept of which calls, what became of them, and that it is bounded."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soip.directory.rows import CallTraceRow
from soip.signalling import facts, verdict
from soip.signalling.ladder import KEPT, STRANGERS
from soip.signalling.trace import HEAD, PARTIES, TAIL
from soip.signalling.trust import WRONG_PASSWORD
from soip.sip.errors import SipParseError
from soip.sip.flow import Flow
from soip.sip.message import Headers, Message, Request, Response, parse_message
from soip.sip.reply import make_response
from soip.sip.uri import Uri
from tests.signalling.wire import ANN, CAM, EVE, MEDIA, SDP, SERVER, START_US, Site, lines, refusal, request
from tests.sip.captures import BARESIP_ANSWER, BARESIP_OFFER
from tests.sip.samples import SAMPLES

# --- a call


def test_a_call_is_told_hop_by_hop_with_its_times() -> None:
    site = Site()
    site.established()
    trace = site.trace()
    assert list(lines(trace)) == [
        "ann > server: INVITE sip:cam1@soip.test",
        "server > ann: 100 Trying",
        "server > cam1: INVITE sip:cam1@soip.test",
        "cam1 > server: 180 Ringing",
        "server > ann: 180 Ringing",
        "cam1 > server: 200 OK",
        "server > ann: 200 OK",
        "ann > server: ACK",
        "server > cam1: ACK",
    ]
    assert [round(told[0] * 1000) for told, _ in trace.messages] == list(range(9))
    assert (trace.caller, trace.callee, trace.proven, trace.state) == ("ann", "cam1", True, "established")
    assert next(trace.messages)[0][5] == ("SDP: video H264 20000 recvonly",)


def test_who_hung_up_and_why_is_the_verdict() -> None:
    site = Site()
    site.established()
    bye = request("BYE", cseq=2, to_tag="b", headers=(("Reason", 'SIP;cause=200;text="seen enough"'),))
    site.gets(bye, ANN)
    assert site.trace().state == "ended"
    assert site.trace().verdict.text == "ann hung up: seen enough"
    site.gets(request("BYE", cseq=9, to_tag="b"), CAM)
    assert site.trace().verdict.who == "ann", "the first one counts"


def test_how_a_call_stands_is_told_while_it_goes_on() -> None:
    site = Site()
    invite = request("INVITE")
    site.proves(invite, ANN, "ann")
    assert site.trace().verdict.text == "cam1 is being called"
    site.forwards(invite, CAM, "cam1")
    site.gets(make_response(invite, 180, to_tag="b"), CAM)
    site.sends(make_response(invite, 180, to_tag="b"), ANN)
    assert site.trace().verdict.text == "cam1 has been reached and has not answered yet"
    site.sends(make_response(invite, 200, to_tag="b"), ANN)
    assert site.trace().verdict.text == "in a call"
    again = request("INVITE", cseq=5, to_tag="b")
    site.gets(again, ANN)
    site.sends(refusal(again, 488, "no"), ANN)
    assert site.trace().state == "established", "a refused re-INVITE leaves the call as it was (RFC 3261 §14.1)"


def test_repeats_are_counted_and_not_told_again() -> None:
    site = Site()
    invite = site.established()
    before = len(site.trace())
    answer = make_response(invite, 200, to_tag="b")
    for _ in range(3):
        site.gets(answer, CAM)
        site.ladder.sent_again(answer.to_bytes(), invite, ANN)
    assert len(site.trace()) == before
    assert [line for line in lines(site.trace()) if "x" in line.rpartition(" ")[2]] == [
        "cam1 > server: 200 OK x4",
        "server > ann: 200 OK x4",
    ]
    site.ladder.sent_again(b"nonsense that nobody can read", request("INVITE", call_id="other"), ANN)


# --- what went wrong

REFUSALS = [
    (480, "camera cam1 is not registered", "unreachable", "cannot be reached: camera cam1 is not registered"),
    (403, WRONG_PASSWORD, "wrong-password", f"ann was refused: {WRONG_PASSWORD}"),
    (403, "ann has no right to control cam1", "not-allowed", "ann may not call there: ann has no right to control"),
    (404, "there is no cam9 here", "unknown", "there is no such address: there is no cam9 here"),
    (503, "media server m-0 is not connected", "unavailable", "not available now: media server m-0 is not connected"),
    (500, "", "unavailable", "not available now: Server Internal Error"),
    (482, "the request has been here before", "refused", "refused: the request has been here before"),
    (483, "", "refused", "refused: Too Many Hops (483 from the SIP server)"),
    (486, "", "busy", "cam1 is busy"),
    (603, "", "declined", "cam1 declined"),
]


@pytest.mark.parametrize(("status", "warning", "code", "text"), REFUSALS)
def test_a_refusal_of_this_server_says_so(status: int, warning: str, code: str, text: str) -> None:
    site = Site()
    invite = request("INVITE")
    site.proves(invite, ANN, "ann")
    site.sends(refusal(invite, status, warning), ANN)
    found = site.trace().verdict
    assert site.trace().state == "failed"
    assert found.code == code
    assert found.text.startswith(text)
    assert found.text.endswith(f"({status} from the SIP server)")
    assert found.failed


def test_a_refusal_of_somebody_else_names_them() -> None:
    site = Site()
    invite = request("INVITE")
    site.proves(invite, ANN, "ann")
    site.forwards(invite, MEDIA, "media-0")
    site.gets(refusal(invite, 488, "the camera offers no video"), MEDIA)
    site.sends(refusal(invite, 488, "the camera offers no video"), ANN)
    found = site.trace().verdict
    assert found.text == "no common codec: the camera offers no video (488 from media-0)"
    assert "H.264" in found.hint


def test_of_many_phones_the_one_whose_answer_counted_is_named() -> None:
    site = Site()
    invite = request("INVITE", uri="sip:bob@soip.test")
    site.proves(invite, ANN, "ann")
    for flow, name, status in ((CAM, "bob", 503), (MEDIA, "bob-mobile", 486)):
        site.forwards(invite, flow, name)
        site.gets(refusal(invite, status), flow)
    site.sends(refusal(invite, 486), ANN)
    assert site.trace().verdict.origin == "bob-mobile"


def test_silence_is_told_with_its_length() -> None:
    site = Site()
    invite = request("INVITE")
    site.proves(invite, ANN, "ann")
    site.forwards(invite, CAM, "cam1")
    for _ in range(6):
        site.ladder.sent_again(invite.to_bytes(), invite, CAM)
    site.clock.pass_ms(32_000)
    site.sends(make_response(invite, 408, to_tag="timeout"), ANN)
    assert site.trace().verdict.text == "no answer from cam1 for 32 s"
    assert "server > cam1: INVITE sip:cam1@soip.test x7" in list(lines(site.trace()))
    assert site.trace().verdict.hint


def test_a_phone_that_rings_for_ever_has_not_answered_and_one_that_is_given_up_has_not_either() -> None:
    for cancelled, text in ((False, "no answer from cam1 for 180 s"), (True, "ann gave up before there was an answer")):
        site = Site()
        invite = request("INVITE")
        site.proves(invite, ANN, "ann")
        site.forwards(invite, CAM, "cam1")
        site.gets(make_response(invite, 180, to_tag="b"), CAM)
        site.clock.pass_ms(180_000)
        if cancelled:
            site.gets(request("CANCEL"), ANN)
        site.gets(make_response(invite, 487, to_tag="b"), CAM)
        site.sends(make_response(invite, 487, to_tag="b"), ANN)
        assert site.trace().verdict.text == text
        assert site.trace().state == ("cancelled" if cancelled else "failed")


def test_who_gives_no_password_is_told_from_who_gives_a_wrong_one() -> None:
    site = Site()
    first = request("INVITE")
    site.gets(first, EVE)
    site.sends(make_response(first, 407, to_tag="x"), EVE)
    assert site.trace().verdict.text == "ann was asked for a password and gave none"
    second = request("INVITE", cseq=2, headers=(("Proxy-Authorization", 'Digest username="ann", response="SECRET"'),))
    site.gets(second, EVE)
    assert site.trace().state == "calling"
    site.sends(refusal(second, 403, WRONG_PASSWORD), EVE)
    trace = site.trace()
    assert trace.verdict.code == "wrong-password"
    assert not trace.proven
    assert trace.parties[1].label == "203.0.113.66:6666", "who proved nothing is an address"
    assert "SECRET" not in site.rows()[0].ladder


def test_an_invite_that_could_not_be_read_is_told_by_its_refusal() -> None:
    site = Site()
    site.sends(refusal(request("INVITE"), 400), EVE)
    assert list(lines(site.trace())) == ["server > 203.0.113.66:6666: 400 Bad Request"]
    assert (site.trace().caller, site.trace().callee) == ("ann", "cam1")
    assert site.trace().verdict.text == "refused: Bad Request (400 from the SIP server)"


def test_a_phone_that_goes_on_by_tcp_is_one_caller() -> None:
    """RFC 3261 §18.1.1: with the password in it the INVITE is too long for a datagram."""
    site = Site()
    tcp = Flow("tcp", SERVER, ("192.0.2.10", 50123), 7)
    first, second = request("INVITE"), request("INVITE", cseq=2)
    site.gets(first, ANN)
    site.sends(make_response(first, 407, to_tag="x"), ANN)
    site.proves(second, tcp, "ann")
    site.sends(make_response(second, 200, to_tag="x"), tcp)
    assert {line.partition(" >")[0] for line in lines(site.trace())} == {"ann", "server"}
    assert (site.trace().state, site.trace().caller, site.trace().proven) == ("established", "ann", True)


def test_every_code_has_words_and_every_refusal_a_code() -> None:
    for status in range(300, 700):
        for by_server in (True, False):
            code = verdict.refusal(status, by_server=by_server, wrong_password=False)
            assert code in verdict.WORDS
    assert set(verdict.HINTS) <= verdict.FAILED
    for code in verdict.WORDS:
        assert "{" not in verdict.Verdict(code, "ann").text


# --- which calls belong together


def serving(site: Site, call_id: str, reply_to: str, *, serves: bool = True) -> None:
    invite = request("INVITE", call_id=call_id, sender="media-0", headers=(("In-Reply-To", reply_to),))
    site.proves(invite, MEDIA, "media-0", serves=serves)


def test_the_call_a_media_server_makes_for_another_belongs_to_it() -> None:
    site = Site()
    site.established()
    serving(site, "c2", "c1")
    serving(site, "c3", "unheard-of")
    serving(site, "c4", "c1", serves=False)
    serving(site, "c5", "c5")
    groups = {trace.call_id: trace.group == site.trace("c1").group for trace in site.traces}
    assert groups == {"c1": True, "c2": True, "c3": False, "c4": False, "c5": False}


def test_the_same_failure_again_takes_the_place_of_the_last_one_and_counts() -> None:
    site = Site()
    for number in range(50):
        invite = request("INVITE", call_id=f"c{number}", sender="media-0")
        site.proves(invite, MEDIA, "media-0")
        site.sends(refusal(invite, 480, "camera cam1 is not registered"), MEDIA)
        site.rows()
    (trace,) = site.traces
    assert (trace.call_id, trace.times) == ("c49", 50)
    invite = request("INVITE", call_id="other", sender="media-0")
    site.proves(invite, MEDIA, "media-0")
    site.sends(refusal(invite, 503, "something else"), MEDIA)
    assert [trace.times for trace in site.traces] == [50, 1]


def test_the_place_of_what_was_replaced_is_free_again_in_the_directory_too() -> None:
    site = Site()
    slots: set[int] = set()
    for number in range(3):
        invite = request("INVITE", call_id=f"c{number}", sender="media-0")
        site.proves(invite, MEDIA, "media-0")
        site.sends(refusal(invite, 480), MEDIA)
        saved, gone = site.ladder.take_rows()
        slots |= {row.slot for row in saved}
        slots -= {row.slot for row in gone}
    assert len(slots) == 1


# --- who is not listened to


def test_registrations_and_keepalives_are_not_kept() -> None:
    site = Site()
    assert "REGISTER" in site.ladder.ignores
    for method in ("REGISTER", "MESSAGE", "OPTIONS", "SUBSCRIBE", "BYE", "ACK"):
        asked = request(method)
        site.gets(asked, ANN)
        site.ladder.proven(asked, ANN, "ann")
        for status in (200, 401, 403, 500):
            site.sends(make_response(asked, status, to_tag="x"), ANN)
        site.ladder.sent_again(asked.to_bytes(), asked, ANN)
    assert site.traces == []
    assert site.ladder.take_rows() == ([], [])


def test_what_belongs_to_a_call_is_kept_whatever_its_method() -> None:
    site = Site()
    site.established()
    for method in ("INFO", "OPTIONS", "MESSAGE", "UPDATE"):
        site.gets(request(method, cseq=7, to_tag="b"), ANN)
    assert [told[3] for told, _ in site.trace().messages][-4:] == ["INFO", "OPTIONS", "MESSAGE", "UPDATE"]


def test_nobody_talks_into_a_call_who_has_not_proved_to_belong_there() -> None:
    site = Site()
    invite = site.established()
    before = list(lines(site.trace()))
    forged = request("BYE", cseq=3, to_tag="b")
    site.gets(forged, EVE)
    site.sends(make_response(forged, 407, to_tag="x"), EVE)
    site.gets(make_response(invite, 603, to_tag="b"), EVE)
    assert list(lines(site.trace())) == before
    moved = Flow("udp", SERVER, ("198.51.100.9", 5060))
    bye = request("BYE", cseq=4, to_tag="b")
    site.proves(bye, moved, "ann")
    assert site.trace().verdict.text == "ann hung up"
    assert list(lines(site.trace()))[-1] == "ann > server: BYE"


def test_strangers_push_out_nobody_we_know() -> None:
    site = Site()
    site.established()
    for number in range(2 * (KEPT + STRANGERS)):
        flow = Flow("udp", SERVER, (f"10.{number >> 8}.{number & 255}.1", 5060))
        site.gets(request("INVITE", call_id=f"x{number}"), flow)
    assert site.trace("c1").state == "established"
    assert len(site.traces) == 1 + STRANGERS


def test_one_stranger_does_not_push_out_all_others() -> None:
    site = Site()
    site.gets(request("INVITE", call_id="honest"), ANN)
    for number in range(1000):
        invite = request("INVITE", call_id=f"x{number}")
        site.gets(invite, EVE)
        site.sends(refusal(invite, 403), EVE)
    assert site.trace("honest")
    assert len(site.traces) <= 30


def test_the_newest_calls_are_kept() -> None:
    site = Site()
    for number in range(KEPT + 50):
        site.proves(request("INVITE", call_id=f"c{number}"), ANN, "ann")
    assert {trace.call_id for trace in site.traces} == {f"c{number}" for number in range(50, KEPT + 50)}
    slots = [trace.slot for trace in site.traces]
    assert len(set(slots)) == len(slots) == KEPT
    assert max(slots) < KEPT


# --- bounds


def test_a_long_call_keeps_its_beginning_and_its_end() -> None:
    site = Site()
    site.established()
    for number in range(1000):
        site.gets(request("OPTIONS", cseq=10 + number, to_tag="b"), ANN)
    site.gets(request("BYE", cseq=5000, to_tag="b"), ANN)
    trace = site.trace()
    told = list(lines(trace))
    assert len(told) == HEAD + TAIL
    assert told[0].startswith("ann > server: INVITE")
    assert told[-1] == "ann > server: BYE"
    assert trace.left_out == 9 + 1000 + 1 - HEAD - TAIL
    assert json.loads(site.rows()[0].ladder)["left_out"] == trace.left_out


def test_a_call_has_no_more_parties_than_fit() -> None:
    site = Site()
    invite = site.established()
    for number in range(200):
        flow = Flow("udp", SERVER, (f"10.0.0.{number}", 5060))
        site.forwards(invite, flow, f"phone-{number}")
        site.gets(make_response(invite, 180, to_tag="c"), flow)
    assert len(site.trace().parties) <= PARTIES + 1


def test_a_stranger_with_many_ports_is_one_party() -> None:
    site = Site()
    for port in range(1024, 2024):
        site.gets(request("INVITE", cseq=port), Flow("udp", SERVER, ("203.0.113.66", port)))
    assert len(site.trace().parties) == 2
    assert len(site.trace()._index) <= PARTIES


_TEXT = st.text(st.characters(codec="utf-8"), max_size=300).map(lambda s: "".join(c for c in s if c not in "\r\n\0"))
_FLOWS = st.builds(
    lambda host, port: Flow("udp", SERVER, (f"192.0.2.{host}", port)), st.integers(1, 4), st.integers(1, 3)
)
_IDS = st.sampled_from(["c1", "c2", "c3", "x" * 300, ""])


@st.composite
def messages(draw: st.DrawFn) -> Message:
    method = draw(st.sampled_from(["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER"]))
    headers = [("From", draw(_TEXT)), ("To", draw(_TEXT)), ("Call-ID", draw(_IDS)), ("CSeq", f"1 {method}")]
    headers += [(name, draw(_TEXT)) for name in draw(st.sets(st.sampled_from(["Warning", "Reason", "In-Reply-To"])))]
    if draw(st.booleans()):
        headers.append(("Content-Type", "application/sdp"))
    body = draw(st.binary(max_size=200))
    if draw(st.booleans()):
        return Request(method, Uri("sip", draw(_TEXT), "h"), Headers(headers), body)
    return Response(draw(st.integers(100, 699)), draw(_TEXT), Headers(headers), body)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["gets", "sends", "proves", "forwards", "again"]), messages(), _FLOWS), max_size=60
    )
)
def test_whatever_comes_it_is_bounded_printable_and_without_a_body(
    steps: list[tuple[str, Message, Flow]],
) -> None:
    site = Site()
    for what, message, flow in steps:
        if what == "gets":
            site.gets(message, flow)
        elif what == "proves" and isinstance(message, Request):
            site.proves(message, flow, "ann", serves=True)
        elif what == "forwards":
            site.forwards(message, flow, "cam1")
        else:
            site.sends(message, flow)
        for trace in site.traces:
            assert 0 < len(trace) <= HEAD + TAIL
            for (_, sender, receiver, line, cseq, said), _ in trace.messages:
                assert len(line) <= facts.LINE
                assert all(len(fact) <= facts.FACT and fact.isprintable() for fact in said)
                assert (line + cseq).isprintable()
                assert 0 in (sender, receiver)
                assert max(sender, receiver) < len(trace.parties)
    saved, gone = site.ladder.take_rows()
    slots = [row.slot for row in saved]
    assert len(set(slots)) == len(slots)
    assert not set(slots) & {row.slot for row in gone}
    for row in saved:
        assert json.loads(row.verdict)["code"] in verdict.WORDS
        assert json.loads(row.ladder)["messages"]
        row.ladder.encode()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(["open", "fail", "end", "new", "stranger", "restart"]), max_size=80))
def test_rows_and_memory_agree_whatever_happens(steps: list[str]) -> None:
    """What was saved and not deleted is what is there, also over a restart."""
    site = Site()
    table: dict[int, CallTraceRow] = {}
    for number, step in enumerate(steps):
        call_id = f"c{number}"
        invite = request("INVITE", call_id=call_id, sender="media-0")
        if step == "open":
            site.established(call_id)
        elif step == "fail":
            site.proves(invite, MEDIA, "media-0")
            site.sends(refusal(invite, 480, "gone"), MEDIA)
        elif step == "end" and (running := [t for t in site.traces if t.state == "established"]):
            site.gets(request("BYE", call_id=running[0].call_id, cseq=2, to_tag="b"), ANN)
        elif step == "stranger":
            site.gets(invite, EVE)
        elif step == "new":
            site.proves(invite, ANN, "ann")
        saved, gone = site.ladder.take_rows()
        for row in gone:
            table.pop(row.slot, None)
        table.update({row.slot: row for row in saved})
        if step == "restart":
            site = Site(site.clock)
            site.ladder.restore(table.values())
            saved, _ = site.ladder.take_rows()
            table.update({row.slot: row for row in saved})
        for trace in site.traces:
            assert table[trace.slot].state == trace.state
        assert len({row.id for row in table.values()}) == len(table) or "restart" in steps


# --- over a restart


def test_a_call_goes_on_over_a_restart() -> None:
    site = Site()
    site.established()
    rows = site.rows()
    site.clock.pass_ms(5000)
    after = Site(site.clock)
    after.ladder.restore(rows)
    trace = after.trace()
    assert list(lines(trace)) == list(lines(site.trace()))
    assert after.rows() == [], "nothing has changed"
    after.gets(request("BYE", cseq=2, to_tag="b"), CAM)
    trace = after.trace()
    assert trace.verdict.text == "cam1 hung up"
    assert list(trace.messages)[-1][0][0] == pytest.approx(5.009)
    (row,) = after.rows()
    assert (row.slot, row.id, row.started_us) == (rows[0].slot, rows[0].id, START_US)


def test_what_was_not_answered_at_a_restart_never_will_be() -> None:
    site = Site()
    site.proves(request("INVITE"), ANN, "ann")
    after = Site(site.clock)
    after.ladder.restore(site.rows())
    (row,) = after.rows()
    assert row.state == "failed"
    assert json.loads(row.verdict)["text"] == "the SIP server was restarted before there was an answer"


def test_old_rows_keep_their_places_until_they_are_the_oldest() -> None:
    site = Site()
    for number in range(KEPT):
        invite = request("INVITE", call_id=f"c{number}")
        site.proves(invite, ANN, f"ann{number}")
        site.sends(refusal(invite, 486), ANN)
    rows = site.rows()
    after = Site(site.clock)
    after.ladder.restore(reversed(rows))
    assert len(after.ladder) == 0, "what is over needs no memory"
    after.proves(request("INVITE", call_id="new"), ANN, "ann")
    assert after.trace("new").slot == min(rows, key=lambda row: row.started_us).slot


def test_rows_that_cannot_be_read_do_no_harm() -> None:
    site = Site()
    site.established()
    (row,) = site.rows()
    for bad in ("", "{}", "[]", '{"call_id":1,"caller":9,"left_out":0,"parties":[["",""]],"messages":[]}', "null"):
        after = Site()
        after.ladder.restore([replace(row, ladder=bad)])
        assert len(after.ladder) == 0
    after.ladder.restore([replace(row, slot=KEPT + STRANGERS + 5)])
    assert [gone.slot for gone in after.ladder.take_rows()[1]] == [KEPT + STRANGERS + 5]


# --- facts


def told_of(message: Message) -> tuple[str, ...]:
    return facts.facts_of(message, facts.view_of(message))


def test_session_descriptions_in_a_line() -> None:
    assert facts.media_line(SDP) == "video H264 20000 recvonly"
    assert facts.media_line(BARESIP_ANSWER) == "video H264 12706 sendonly, audio PCMU/PCMA 11134 sendonly"
    assert facts.media_line(BARESIP_OFFER) == (
        "audio PCMU/PCMA/telephone-event 20876 sendrecv, video H264/H263/MP4V-ES/H265 9358 sendrecv"
    )
    assert facts.media_line(b"v=0\r\na=inactive\r\nm=audio 0 RTP/AVP 8\r\nm=video 9 RTP/AVP 34\r\n") == (
        "audio refused, video H263 9 inactive"
    )
    assert facts.media_line(b"") == "no media"
    assert facts.media_line(b"m=\nm=x\na=rtpmap:\n") == "? ?, x ?"


def test_of_a_message_only_what_is_named_is_told() -> None:
    secret = "SECRET"
    asked = request(
        "INVITE",
        headers=(
            ("Authorization", f'Digest response="{secret}"'),
            ("Proxy-Authorization", f"Bearer {secret}"),
            ("X-Password", secret),
            ("Subject", secret),
        ),
    )
    asked.uri = Uri.parse(f"sip:cam1:{secret}@soip.test;key={secret}?x={secret}")
    asked.body = f"v=0\r\nk=clear:{secret}\r\na=crypto:1 {secret}\r\nm=video 5 RTP/AVP 96\r\n".encode()
    told = " ".join([facts.line_of(asked, facts.view_of(asked)), *told_of(asked)])
    assert secret not in told
    assert "sip:cam1@soip.test" in told


def test_why_and_when_again_are_told() -> None:
    refused = refusal(request("INVITE"), 503, 'a \\"quoted\\" word', Retry_After="5")
    assert told_of(refused) == ("Retry-After: 5", 'Warning: a "quoted" word')
    assert told_of(make_response(request("INVITE"), 200)) == ()
    bye = request("BYE", headers=(("Reason", 'Q.850;cause=16;text="done\x1b[31m"'),))
    assert told_of(bye) == ('Reason: Q.850;cause=16;text="done?[31m"',)
    assert facts.reason_text(facts.view_of(bye)) == "done?[31m"
    bye.headers.set("Reason", "SIP;cause=200")
    assert facts.reason_text(facts.view_of(bye)) == "SIP;cause=200"


def test_samples_of_the_wire_are_told() -> None:
    read = 0
    for sample in SAMPLES:
        try:
            message = parse_message(sample)
        except SipParseError:
            continue
        read += 1
        assert facts.line_of(message, facts.view_of(message)).isprintable()
        assert all(fact.isprintable() for fact in told_of(message))
    assert read > 2
