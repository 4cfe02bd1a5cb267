"""The response side of the proxy: many branches in, one final answer out (RFC 3261 §16.7); and how many branches a
request may become (RFC 5393).

A `Fork` is one forwarded request. It is told what each branch answers and calls back: `respond` with what
goes upstream, `cancel` with the number of a branch that is no longer wanted. No clock, no socket.

Branches may be held back, for contacts that are preferred less (§16.6): `exhausted` is called when those begun have
all ended in vain, or when no more will be begun; `begin` lets the next ones begin while `more` says that there are any.

    provisional (101–199)   upstream at once
    2xx                     upstream at once, also a second one; the other branches are cancelled
    6xx                     kept; the other branches are cancelled
    3xx–5xx, time-out       kept; when every branch has ended, the best one goes upstream
"""

from __future__ import annotations

from collections.abc import Callable

from soip.sip.message import Response

# §16.7 step 6: those that tell the caller how to try again come first; a timeout or an ended branch tells
# least.
_HELPFUL = (401, 407, 415, 420, 484)
_DEFAULT_BREADTH = 60  # RFC 5393 §5.3.3
_CHALLENGES = ("WWW-Authenticate", "Proxy-Authenticate")


def shares(breadth: int | None, branches: int) -> list[int]:
    """The Max-Breadth of each branch: together what the request came with (RFC 5393 §5.3.3), [] when that is less than
    one for each.

    However proxies send a request round among each other, there never are more branches of it at once.
    """
    whole = _DEFAULT_BREADTH if breadth is None else breadth
    each, rest = divmod(whole, branches)
    return [each + (number < rest) for number in range(branches)] if each else []


class Fork:
    """One forwarded request and its branches, numbered from 0."""

    def __init__(
        self,
        branches: int,
        respond: Callable[[Response], None],
        cancel: Callable[[int], None],
        *,
        begun: int | None = None,
        exhausted: Callable[[], None] = lambda: None,
    ) -> None:
        self._finals: list[Response | None] = [None] * branches
        self._begun = branches if begun is None else begun
        self._exhausted = exhausted
        self._respond = respond
        self._cancel = cancel
        self._accepted = False
        self._unwanted: set[int] = set()
        self._done = False
        self.cancelled = False

    @property
    def done(self) -> bool:
        """A final answer has gone upstream."""
        return self._done

    @property
    def more(self) -> bool:
        """Branches are held back that may still be wanted."""
        return self._begun < len(self._finals)

    def begin(self, branches: int) -> None:
        """So many of those held back begin now; those begun before that have not answered are no longer wanted."""
        self._cancel_others()
        self._begun += branches

    def response(self, branch: int, response: Response) -> None:
        """A branch has answered; time-outs and failures come as the response that stands for them."""
        if response.status < 200:
            if response.status > 100 and not self._done:
                self._respond(response)
            return
        if self._done and not self._accepted:
            return  # the caller has its refusal; its transaction takes no second final
        if response.status < 300:
            self._finals[branch] = response
            self._accepted = self._done = True
            self._respond(response)
            self._give_up()
            return
        if self._finals[branch] is None:
            self._finals[branch] = response
            if response.status >= 600:
                self._give_up()
            self._settle()

    def cancel(self) -> None:
        """The caller has given up (§16.10). The branches still answer, mostly 487."""
        if not self._done:
            self.cancelled = True
            self._give_up()

    def _give_up(self) -> None:
        """The search is over: what runs is cancelled, what was held back never begins."""
        held = self.more
        del self._finals[self._begun :]
        self._cancel_others()
        if held:
            self._exhausted()

    def _cancel_others(self) -> None:
        for branch, final in enumerate(self._finals[: self._begun]):
            if final is None and branch not in self._unwanted:
                self._unwanted.add(branch)
                self._cancel(branch)

    def _settle(self) -> None:
        if self._accepted or self._done:
            return
        finals = [final for final in self._finals if final is not None]
        if len(finals) < self._begun:
            return
        if self.more:
            self._exhausted()
            return
        self._done = True
        self._respond(best(finals))


def best(finals: list[Response]) -> Response:
    """The final response that goes upstream when no branch accepted (§16.7 steps 6 and 7)."""
    chosen = min(finals, key=lambda response: _rank(response.status))
    if chosen.status in (401, 407):
        # Step 7: the caller may be able to answer any of the challenges, so it sees all of them.
        others = [r for r in finals if r is not chosen and r.status in (401, 407)]
        for name in _CHALLENGES:
            for response in others:
                for value in response.headers.get_all(name):
                    chosen.headers.add(name, value)
    return chosen


def _rank(status: int) -> tuple[int, int, int]:
    """Lower is better: 6xx first, then by class, and inside 4xx the helpful ones."""
    if status >= 600:
        return (0, 0, status)
    if status in (408, 487):
        return (status // 100, 2, status)
    return (status // 100, 0 if status in _HELPFUL else 1, status)
