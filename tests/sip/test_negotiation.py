"""Calls that are up, negotiating on: hold, resume, moves, and what must not change meanwhile (RFC 3264 §8)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soip.sip.errors import OfferError, SdpError
from soip.sip.formats import Audio, Video
from soip.sip.negotiation import Negotiation, unmoved
from soip.sip.offer import Agreement, Local, Stream, answer_offer, make_offer, read_answer
from soip.sip.sdp import SessionDescription

SERVER = Local("192.0.2.1", 7)
PHONE = Local("192.0.2.9", 8)
SHOWS = (
    Video(20000, "H264", {"profile-level-id": "42e01f", "sprop-parameter-sets": "Z0LAHg==,aM48gA=="}, sends=True),
    Audio(20002, ("PCMU",), sends=True),
)
SEES = (Audio(30002, receives=True), Video(30000, receives=True))


class Call:
    """A phone that watches: the server's side negotiates, the phone's is written by hand."""

    def __init__(self) -> None:
        self.offer = make_offer(PHONE, SEES)
        agreement = answer_offer(self.offer, SERVER, SHOWS)
        assert agreement.answer is not None
        self.answer = agreement.answer
        self.agreed = [agreement]
        self.refuses = False
        self.negotiation = Negotiation(SERVER, SHOWS, self.answer, self._apply)

    def _apply(self, agreement: Agreement) -> None:
        if self.refuses:
            raise OfferError("no way there")
        self.agreed.append(agreement)

    def video(self) -> Stream:
        stream = self.agreed[-1].video
        assert stream is not None
        return stream

    def offers(self, *changes: tuple[str, str]) -> SessionDescription:
        """The phone offers what it offered first, changed."""
        text = str(self.offer)
        for old, new in changes:
            text = text.replace(old, new)
        return SessionDescription.parse(self.negotiation.offered(text.encode()))


def version(description: SessionDescription) -> int:
    origin = description.origin
    assert origin is not None
    return int(origin.version)


def directions(description: SessionDescription) -> list[str]:
    return [description.direction(media) for media in description.media]


def test_the_same_offer_again_has_the_same_answer_and_version() -> None:
    call = Call()
    assert call.offers() == call.answer
    assert call.agreed[0].streams == call.agreed[1].streams


def test_hold_and_resume() -> None:
    call = Call()
    held = call.offers(("a=recvonly", "a=inactive"))
    assert directions(held) == ["inactive", "inactive"]
    assert not call.video().sends
    assert version(held) == version(call.answer) + 1
    assert [media.port for media in held.media] == [media.port for media in call.answer.media]
    back = call.offers()
    assert directions(back) == ["sendonly", "sendonly"]
    assert call.video().sends
    assert version(back) == version(held) + 1


def test_a_phone_that_sends_alone_is_answered_inactive() -> None:
    call = Call()
    assert directions(call.offers(("a=recvonly", "a=sendonly"))) == ["inactive", "inactive"]


def test_a_hold_of_old_by_address() -> None:
    call = Call()
    assert directions(call.offers(("c=IN IP4 192.0.2.9", "c=IN IP4 0.0.0.0"))) == ["inactive", "inactive"]
    assert not call.video().sends


def test_media_moves() -> None:
    call = Call()
    moved = call.offers(("192.0.2.9", "192.0.2.77"), ("m=video 30000", "m=video 40000"))
    assert call.video().remote == ("192.0.2.77", 40000)
    assert moved == call.answer, "our side is as it was"


def test_one_part_is_dropped_and_comes_back_in_its_place() -> None:
    call = Call()
    without = call.offers(("m=audio 30002", "m=audio 0"))
    assert [media.port for media in without.media] == [0, 20000]
    assert call.agreed[-1].audio is None
    assert [media.port for media in call.offers().media] == [20002, 20000]


def test_a_refused_offer_leaves_everything() -> None:
    call = Call()
    with pytest.raises(OfferError):
        call.offers(("H264", "VP8"), ("PCMU", "G729"), ("PCMA", "G728"))
    call.refuses = True
    with pytest.raises(OfferError, match="no way"):
        call.offers(("192.0.2.9", "192.0.2.77"))
    call.refuses = False
    with pytest.raises(SdpError):
        call.negotiation.offered(b"nonsense")
    assert len(call.agreed) == 1
    assert call.offers() == call.answer, "no version was used up"


def test_asked_for_an_offer_we_offer_all_in_the_places_and_formats_of_before() -> None:
    call = Call()
    held = call.offers(("a=recvonly", "a=inactive"), ("m=audio 30002", "m=audio 0"))
    ours = SessionDescription.parse(call.negotiation.offered(b""))
    assert [(media.kind, media.port, media.formats) for media in ours.media] == [
        (media.kind, media.port, media.formats) for media in held.media
    ]
    assert directions(ours)[1] == "sendonly"
    assert version(ours) == version(held) + 1
    answer = answer_offer(ours, replace(PHONE, version=5), SEES).answer
    assert answer is not None
    call.negotiation.answered(answer.to_bytes())
    assert call.video().sends
    assert call.video().remote == ("192.0.2.9", 30000)
    again = SessionDescription.parse(call.negotiation.offered(b""))
    assert again == ours, "nothing is new"


def test_an_unusable_answer_is_told() -> None:
    call = Call()
    call.negotiation.offered(b"")
    with pytest.raises(OfferError):
        call.negotiation.answered(
            str(call.offer).replace("m=audio 30002", "m=audio 0").replace("m=video 30000", "m=video 0").encode()
        )
    assert len(call.agreed) == 1


def test_an_answer_to_a_refresh_may_move_the_media() -> None:
    call = Call()
    answer = answer_offer(call.answer, replace(PHONE, address="192.0.2.50"), SEES).answer
    assert answer is not None
    call.negotiation.answered(answer.to_bytes())
    assert call.video().remote[0] == "192.0.2.50"
    assert call.video().sends


# -- who receives


def received() -> tuple[Negotiation, SessionDescription]:
    """A player's side, and the camera's answer, which it offers again later."""
    offer = make_offer(PHONE, SEES)
    answer = answer_offer(offer, SERVER, SHOWS).answer
    assert answer is not None
    return Negotiation(PHONE, SEES, offer, unmoved(read_answer(offer, answer))), answer


def test_a_receiver_takes_a_refresh_and_a_pause() -> None:
    negotiation, camera = received()
    ours = SessionDescription.parse(negotiation.offered(camera.to_bytes()))
    assert directions(ours) == ["recvonly", "recvonly"]
    paused = str(camera).replace("a=sendonly", "a=inactive").replace("192.0.2.1", "192.0.2.3")
    assert directions(SessionDescription.parse(negotiation.offered(paused.encode()))) == ["inactive", "inactive"]
    negotiation.offered(camera.to_bytes())


@pytest.mark.parametrize(("old", "new"), [("192.0.2.1", "192.0.2.3"), ("m=video 20000", "m=video 22000")])
def test_a_receiver_does_not_follow_media_elsewhere(old: str, new: str) -> None:
    negotiation, camera = received()
    with pytest.raises(OfferError, match="moved"):
        negotiation.offered(str(camera).replace(old, new).encode())


def test_a_receiver_does_not_follow_a_change_of_codec() -> None:
    """Of another type under the same number: what takes the packets was made for the first."""
    negotiation, camera = received()
    with pytest.raises(OfferError, match="call anew"):
        negotiation.offered(str(camera).replace("H264", "H265").encode())


CHANGES = st.sampled_from(
    [
        (),
        (("a=recvonly", "a=inactive"),),
        (("a=recvonly", "a=sendrecv"),),
        (("a=recvonly", "a=sendonly"),),
        (("192.0.2.9", "192.0.2.10"),),
        (("m=audio 30002", "m=audio 0"),),
        (("m=video 30000", "m=video 0"),),
        (("H264", "VP8"), ("PCMU", "G729"), ("PCMA", "G728")),
        None,
    ]
)


@given(st.lists(CHANGES, max_size=8))
def test_whatever_follows_places_stay_and_versions_tell_the_truth(
    steps: list[tuple[tuple[str, str], ...] | None],
) -> None:
    call = Call()
    said = call.answer
    for step in steps:
        try:
            if step is None:
                ours = SessionDescription.parse(call.negotiation.offered(b""))
                answer = answer_offer(ours, PHONE, SEES).answer
                assert answer is not None
                call.negotiation.answered(answer.to_bytes())
            else:
                ours = call.offers(*step)
        except OfferError:
            continue
        assert [media.kind for media in ours.media] == ["audio", "video"]
        assert version(ours) == version(said) + (ours != said)
        assert (ours == said) == (str(ours) == str(said))
        said = ours
