"""Who is asking: the one challenger of the path (RFC 3261 §22, RFC 7616, RFC 8760, RFC 8898).

A request is judged by its digest, never by its address. One exception is not one of addresses either: a peer that has
proved by its certificate to bear a name we were told (`sip_peers`) may say which of our users it speaks for, with
P-Asserted-Identity (RFC 3325): it has authenticated them. What is at the other end of a route (`sip_routes`) asks for
its own callers, in the name of the user that the route says. Who has signed in at the web server brings its token
instead of a digest, over TLS or a WebSocket: elsewhere it could be read and used by others.

The answer to a stranger is a challenge with the algorithms its account has; to a wrong password 403, a limited number
of times, then 503; to a flood, silence. A wrong password and an unknown id look the same from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from soip.config import SipRoute
from soip.directory.rows import Account, AccountKind
from soip.policy.errors import TokenError
from soip.signalling.accounts import AccountTable
from soip.signalling.answers import Answer, busy
from soip.signalling.flows import FlowKey
from soip.signalling.limits import Gate
from soip.signalling.location import Location
from soip.sip import headers
from soip.sip.digest import ALGORITHMS, MD5, NonceIssuer, Verdict, canonical_algorithm, judge, make_challenge
from soip.sip.errors import SipParseError
from soip.sip.grammar import quote
from soip.sip.headers import Authorization, Challenge
from soip.sip.message import Request
from soip.sip.uri import Uri, split_user

ACCOUNT_RETRY_SECONDS = 2
MAX_USER = 128
CREDENTIALS = ("Authorization", "Proxy-Authorization")
WRONG_PASSWORD = "wrong password or unknown id"  # noqa: S105 - words, not a password


@dataclass(frozen=True, slots=True)
class Refused:
    """Not (yet) trusted. `wrong` names the id whose password was wrong, empty otherwise; `early`: it was not looked at,
    because too many had been wrong. Both only of who was given our nonce at that address.
    """

    answer: Answer
    wrong: str = ""
    early: bool = False


class Sender(NamedTuple):
    """Where a request came from: its flow, the DNS names proved there by a certificate, and the route at whose other
    end that is, if it is one that lets callers in.
    """

    flow: FlowKey
    names: frozenset[str] = frozenset()
    route: SipRoute | None = None

    @property
    def is_browser(self) -> bool:
        """Whether it speaks through a WebSocket."""
        return self.flow.transport in ("ws", "wss")

    @property
    def is_private(self) -> bool:
        """Whether nobody between can have read what it sent, as far as we can see."""
        return self.is_browser or self.flow.transport == "tls"


@dataclass(frozen=True, slots=True)
class House:
    """What the installation is called: the SIP domain, and the realm of its digests, fixed at its first start since
    HA1s depend on it. `peers` are the names of certificates whose holders may assert its users.
    """

    domain: str
    realm: str
    peers: frozenset[str] = frozenset()


class Challenger:
    """Judges requests. `holder` gives the user who was given a token, and raises TokenError."""

    def __init__(
        self,
        house: House,
        accounts: AccountTable,
        location: Location,
        nonces: NonceIssuer,
        gate: Gate,
        holder: Callable[[str], str],
    ) -> None:
        self._house = house
        self._realm = house.realm
        self._accounts = accounts
        self._location = location
        self._nonces = nonces
        self._gate = gate
        self._holder = holder

    def claimed(self, request: Request, sender: Sender, *, proxy: bool) -> str:
        """The id a request claims to come from: whom a peer asserts, else the digest's username, else whom a good token
        is for, else To of a REGISTER, else From.

        Raises SipParseError.
        """
        if proxy and (asserted := self._asserted(request, sender)):
            return asserted
        if proxy and sender.route is not None:
            return sender.route.account
        credentials = self._credentials(request, proxy)
        if credentials is not None:
            return credentials.username
        return self._subject(self._token(request, sender)) or _named(request)

    def judge(self, request: Request, sender: Sender, now: float, *, proxy: bool) -> Account | Refused:
        """The account behind a request, or what to answer.

        `proxy`: a request that passes through (407, RFC 3261 §22.3), else one for this server (401, §22.2), where
        nobody speaks for others. Raises SipParseError for credentials that cannot be read.
        """
        for vouched in self._vouched(request, sender) if proxy else ():
            asserted = self._accounts.get(vouched)
            if asserted is not None and asserted.kind is AccountKind.USER:
                return self._counted(asserted, now)
        flow, source = sender.flow, sender.flow.host
        credentials = self._credentials(request, proxy)
        if credentials is None:
            token = self._token(request, sender)
            subject = self._subject(token)
            account = self._accounts.get(subject) if subject else None
            if account is not None and account.kind is AccountKind.USER:
                return self._counted(account, now)
            account = self._accounts.owner_of(self.claimed(request, sender, proxy=proxy))
            known = account is not None and bool(self._location.on_flow(flow, account.id, now))
            counted = (flow, account.id) if account is not None and known else source
            return self._challenged(account, counted, sender, now, proxy, invalid=bool(token))
        account = self._accounts.get(credentials.username)
        # A device that is registered over this very flow is counted apart from whoever else shares its address:
        # a neighbour behind the same address translation must not be able to lock it out by guessing. One that was
        # registered from this address and comes by a new flow waits for its own id alone, not for all that is guessed.
        known = account is not None and bool(self._location.on_flow(flow, account.id, now))
        who = (flow if known else source, credentials.username)
        home = known or (account is not None and self._location.is_home(account.id, source))
        if not self._gate.may_try(source, who, home, now):
            wait = self._gate.retry_after(source, who, home, now)
            early = self._nonces.is_of(credentials.nonce, source, now)
            return Refused(busy("too many wrong passwords", wait), early=early)
        verdict = self._verdict(credentials, request.method, account, source, now)
        if verdict is Verdict.GOOD and account is not None:
            return self._counted(account, now)
        if verdict is Verdict.WRONG:
            self._gate.failed(source, who, now)
            return Refused(Answer(403, WRONG_PASSWORD), wrong=credentials.username[:64])
        return self._challenged(account, who if known else source, sender, now, proxy, stale=True)

    def _counted(self, account: Account, now: float) -> Account | Refused:
        if self._gate.account(account.id, now):
            return account
        return Refused(busy(f"too many requests of {account.id}", ACCOUNT_RETRY_SECONDS))

    def _asserted(self, request: Request, sender: Sender) -> str:
        """The id of our domain that a peer asserts, "" where there is none or the sender may not."""
        if sender.names.isdisjoint(self._house.peers):
            return ""
        for identity in headers.asserted_identity(request.headers):
            # One sip address, and perhaps a number beside it (RFC 3325 §9.1). An id of another domain is somebody else.
            if identity.uri.is_sip and identity.uri.host == self._house.domain:
                return split_user(identity.uri.user)[0]
        return ""

    def _vouched(self, request: Request, sender: Sender) -> Iterator[str]:
        """In whose name a peer asks: one of our users, whom it asserts, else the account for its own callers."""
        yield self._asserted(request, sender)
        if sender.route is not None:
            yield sender.route.account

    def _verdict(
        self, credentials: Authorization, method: str, account: Account | None, source: str, now: float
    ) -> Verdict:
        algorithm = canonical_algorithm(credentials.param("algorithm") or MD5) or ""
        secret = account.ha1.get(algorithm) if account is not None else None
        return judge(credentials, method, secret, algorithm, self._nonces, now, source=source)

    def reject(self, answer: Answer, source: Hashable, now: float) -> Answer:
        """What a stranger gets instead of `answer` where he asks too often."""
        verdict = self._gate.stranger(source, now)
        if verdict == Gate.DROP:
            return Answer(503, silent=True)
        if verdict == Gate.REFUSE:
            return busy("too many requests without credentials", ACCOUNT_RETRY_SECONDS)
        return answer

    def _challenged(
        self,
        account: Account | None,
        counted: Hashable,
        sender: Sender,
        now: float,
        proxy: bool,
        *,
        stale: bool = False,
        invalid: bool = False,
    ) -> Refused:
        """`stale`: the nonce of the digest was; `invalid`: the token was, or had expired."""
        status, name = (407, "Proxy-Authenticate") if proxy else (401, "WWW-Authenticate")
        lines = self._digests(account, sender.flow.host, now, stale=stale)
        # After the digests: who has a password for a browser's library looks at the first challenge only.
        if sender.is_browser or invalid:
            error = (("error", quote("invalid_token")),) if invalid else ()
            lines.append(Challenge("Bearer", (("realm", quote(self._realm)), *error)))
        answer = Answer(status, headers=tuple((name, str(line)) for line in lines))
        return Refused(self.reject(answer, counted, now))

    def _digests(self, account: Account | None, source: str, now: float, *, stale: bool) -> list[Challenge]:
        known = account.ha1 if account is not None else ()
        # The strongest first (RFC 8760 §2.4); who is unknown is asked for what most phones know.
        algorithms = [algorithm for algorithm in ALGORITHMS if algorithm in known] or [MD5]
        nonce = self._nonces.issue(now, source)
        return [make_challenge(self._realm, nonce, algorithm, stale=stale) for algorithm in algorithms]

    def _token(self, request: Request, sender: Sender) -> str:
        """The token of a request, "" without one. It may stand in either header field: browsers' libraries know one."""
        if not sender.is_private:
            return ""
        found = (bearer(value) for name in CREDENTIALS for value in request.headers.get_all(name))
        return next((token for token in found if token is not None), "")

    def _subject(self, token: str) -> str:
        try:
            return self._holder(token) if token else ""
        except TokenError:
            return ""

    def _credentials(self, request: Request, proxy: bool) -> Authorization | None:
        """The digest for our realm: a request may carry others, for other proxies (RFC 3261 §22.3)."""
        name = "Proxy-Authorization" if proxy else "Authorization"
        for credentials in headers.authorizations(request.headers, name):
            if credentials.scheme.lower() == "digest" and credentials.realm == self._realm:
                if len(credentials.username) > 64:
                    raise SipParseError("user name too long")
                return credentials
        return None


def _named(request: Request) -> str:
    """The id that a request without credentials is of, by its own words."""
    name = headers.to if request.method == "REGISTER" else headers.from_
    return split_user(name(request.headers).uri.user)[0]


def bearer(value: str) -> str | None:
    """The token in credentials of scheme Bearer (RFC 8898 §3), None in others."""
    scheme, _, token = value.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def foreign_identity(request: Request, route: SipRoute) -> str:
    """Who another server says is calling: an address of one of its own domains, "" where it says none."""
    for identity in headers.asserted_identity(request.headers):
        if identity.uri.is_sip and identity.uri.host in route.domains and identity.uri.user:
            return str(Uri("sip", identity.uri.user[:MAX_USER], identity.uri.host))
    return ""


def strip_credentials(request: Request, realm: str) -> None:
    """Remove the digest that was for us, and any token, before the request goes on (RFC 3261 §22.3)."""
    for name in CREDENTIALS:
        values = request.headers.get_all(name)
        if kept := [value for value in values if bearer(value) is None]:
            request.headers.set_all(name, kept)
        elif values:
            request.headers.remove(name)
    name = "Proxy-Authorization"
    if name not in request.headers:
        return
    kept = [
        value
        for value, credentials in zip(
            request.headers.get_all(name), headers.authorizations(request.headers, name), strict=True
        )
        if credentials.realm != realm
    ]
    request.headers.set_all(name, kept)
