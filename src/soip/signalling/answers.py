"""What this server answers itself, as a value: decided in pure code, sent by the shell."""

from __future__ import annotations

from dataclasses import dataclass

from soip.sip.headers import warning

# The methods the server takes for itself; everything else in a request to it is 405 (RFC 3261 §8.2.1).
ALLOW = "REGISTER, OPTIONS, MESSAGE, SUBSCRIBE"


@dataclass(frozen=True, slots=True)
class Answer:
    """A final answer. `text` says what is wrong, to people and programs alike: it becomes a Warning header.

    `silent`: nothing is sent at all, because answering would only serve a flood.
    """

    status: int
    text: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    silent: bool = False

    def lines(self, agent: str) -> tuple[tuple[str, str], ...]:
        """All header lines, the Warning included (RFC 3261 §20.43; 399 is "miscellaneous")."""
        if not self.text:
            return self.headers
        return (*self.headers, ("Warning", warning(399, agent, self.text)))


def busy(text: str, seconds: int) -> Answer:
    """503: not now, but again after so many seconds (RFC 3261 §20.33)."""
    return Answer(503, text, (("Retry-After", str(seconds)),))


def bad_extension(tags: list[str]) -> Answer:
    """420 for option tags that are required and not supported (RFC 3261 §8.2.2.3, §16.3 step 5)."""
    return Answer(420, f"not supported here: {', '.join(tags)}"[:200], (("Unsupported", ", ".join(tags)[:1000]),))
