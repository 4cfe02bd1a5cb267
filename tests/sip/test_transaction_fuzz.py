from __future__ import annotations

from tests.fuzz import seeds, sip_transaction


def test_a_seeded_handful() -> None:
    seeds.run(sip_transaction.fuzz, sip_transaction.samples(), rounds=100)
