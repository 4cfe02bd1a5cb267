"""Fuzz target: datagrams of a video stream in H.265."""

from __future__ import annotations

from soip.rtp.h265 import H265
from tests.fuzz import rtp_video


def fuzz(data: bytes) -> None:
    """In batches or one by one, the same access units come out; nothing is raised, nothing exceeds its bound."""
    rtp_video.hold(data, H265)
