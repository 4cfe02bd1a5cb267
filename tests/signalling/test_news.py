"""The log of who came and went stays readable when everybody does."""

from __future__ import annotations

from structlog.testing import capture_logs

from soip.signalling.limits import Budget
from soip.signalling.news import News


def test_a_few_are_told_and_many_are_counted() -> None:
    now = [0.0]
    news = News(lambda: now[0], Budget(rate=1, burst=2))
    with capture_logs() as logs:
        for number in range(5):
            news.tell("registered", id=f"cam{number}")
        news.tell("unregistered", id="cam0", reason="left")
        news.sum_up()
        news.sum_up()
        now[0] = 10.0
        news.tell("registered", id="cam9")
    assert [(line["event"], line.get("id"), line.get("more")) for line in logs] == [
        ("registered", "cam0", None),
        ("registered", "cam1", None),
        ("registered", None, 3),
        ("unregistered", None, 1),
        ("registered", "cam9", None),
    ]
