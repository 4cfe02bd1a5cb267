"""A client's side of digest: answers to 401 and 407, remembered so that the next request needs no challenge."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from soip.sip import headers as h
from soip.sip.digest import Credentials, answer_challenge, choose_challenge
from soip.sip.errors import SipError
from soip.sip.headers import Challenge
from soip.sip.message import Request, Response

# status → header of the challenge, header of the answer (RFC 3261 §22.2, §22.3)
_HEADERS = {
    401: ("WWW-Authenticate", "Authorization"),
    407: ("Proxy-Authenticate", "Proxy-Authorization"),
}


class Authenticator:
    """The credentials of one user agent, and the last challenge of its server and of its proxy."""

    def __init__(self, credentials: Credentials | None, cnonces: Callable[[], str] | None = None) -> None:
        self._credentials = credentials
        self._cnonces = cnonces or (lambda: secrets.token_hex(8))
        self._challenges: dict[int, tuple[Challenge, int]] = {}  # by status, with the count of uses

    def prepare(self, request: Request) -> None:
        """Put answers to the challenges we remember on a request, before anyone asks (RFC 3261 §22.3).

        What a registrar asked is answered to the registrar alone: in other requests it would go on to whom they call,
        who has no use for it, and make them long for a datagram.
        """
        for status in list(self._challenges):
            if status == 407 or request.method == "REGISTER":
                self._put(request, status)

    def attempt(self) -> Attempt:
        """The bookkeeping of one request and its repetitions."""
        return Attempt(self)

    def _learn(self, status: int, response: Response) -> Challenge | None:
        if self._credentials is None:
            return None
        try:
            chosen = choose_challenge(h.challenges(response.headers, _HEADERS[status][0]), self._credentials)
        except SipError:  # malformed, or nothing we can answer: the same to whoever waits
            return None
        self._challenges[status] = (chosen, 0)
        return chosen

    def _put(self, request: Request, status: int) -> None:
        assert self._credentials is not None
        challenge, used = self._challenges[status]
        self._challenges[status] = (challenge, used + 1)
        answer = answer_challenge(
            challenge, request.method, str(request.uri), self._credentials, self._cnonces(), used + 1
        )
        request.headers.set(_HEADERS[status][1], str(answer))

    def _forget(self, status: int) -> None:
        self._challenges.pop(status, None)

    def _forget_all(self) -> None:
        self._challenges.clear()


class Attempt:
    """Whether a challenge is worth an answer: once for each header, and again only when the nonce was stale."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._answered: dict[int, int] = {}

    def answer(self, request: Request, response: Response) -> bool:
        """Put the answer to this 401 or 407 on the request. False: there is none, or it was given and refused.

        The request must then be sent with a higher CSeq (RFC 3261 §22.2).
        """
        status = response.status
        if status == 403:
            # What we were asked with once may not be what the account has now (another algorithm): be asked again.
            self._authenticator._forget_all()
        if status not in _HEADERS:
            return False
        challenge = self._authenticator._learn(status, response)
        tries = self._answered.get(status, 0)
        if challenge is None or (tries and not challenge.stale) or tries > 1:
            self._authenticator._forget(status)
            return False
        self._answered[status] = tries + 1
        self._authenticator._put(request, status)
        return True
