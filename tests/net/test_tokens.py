"""Words for branches and tags: each another, and of one form."""

from __future__ import annotations

from soip.net.tokens import SIZE, Tokens


def test_words_are_never_the_same() -> None:
    first, second = Tokens(), Tokens()
    words = [make() for _ in range(1000) for make in (first, second)]
    assert len(set(words)) == len(words)
    assert {len(word) for word in words} == {2 * SIZE}
    assert all(set(word) <= set("0123456789abcdef") for word in words)
