"""A handful of the fuzzers' inputs, with every run of the tests."""

from __future__ import annotations

from tests.fuzz import seeds, signalling_flowtoken, signalling_register


def test_requests() -> None:
    seeds.run(signalling_register.fuzz, signalling_register.SAMPLES)


def test_flow_tokens() -> None:
    seeds.run(signalling_flowtoken.fuzz, signalling_flowtoken.SAMPLES)
