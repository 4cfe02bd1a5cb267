"""The text format as Prometheus reads it, texts of several roles joined, and who may see them."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from soip.config import Settings, SettingsError
from soip.lifeline import StartError
from soip.metrics import (
    CONTENT_TYPE,
    PROCESS,
    SLICE,
    Family,
    Sample,
    Spread,
    access_token,
    face,
    merge,
    of_process,
    write,
)

PACKETS = Family("soip_packets", "counter", "Packets.", ("camera", "cause"))
DEPTH = Family("soip_depth_bytes", "gauge", "What waits.\nIn two lines, with a \\.")
TIMES = Family("soip_write_seconds", "histogram", "Writes.", ("disk",))
Read = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read(text: str) -> Read:
    """All samples of a text, by name and labels; each may be there once, and each family too."""
    found: Read = {}
    families = [family.name for family in text_string_to_metric_families(text)]
    assert len(families) == len(set(families))
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


async def test_figures_are_written_as_prometheus_reads_them() -> None:
    def figures() -> Iterator[tuple[Family, list[Sample]]]:
        yield PACKETS, [(("gate", "lost"), 3), (('a "quoted"\n\\name', "late"), 0)]
        yield DEPTH, [((), 1.5e9)]
        yield TIMES, [(("/srv",), Spread((0.1, 1.0), (2, 3, 1), 7.25))]

    text = await write(figures())
    assert read(text) == {
        ("soip_packets_total", (("camera", "gate"), ("cause", "lost"))): 3,
        ("soip_packets_total", (("camera", 'a "quoted"\n\\name'), ("cause", "late"))): 0,
        ("soip_depth_bytes", ()): 1.5e9,
        ("soip_write_seconds_bucket", (("disk", "/srv"), ("le", "0.1"))): 2,
        ("soip_write_seconds_bucket", (("disk", "/srv"), ("le", "1.0"))): 5,
        ("soip_write_seconds_bucket", (("disk", "/srv"), ("le", "+Inf"))): 6,
        ("soip_write_seconds_sum", (("disk", "/srv"),)): 7.25,
        ("soip_write_seconds_count", (("disk", "/srv"),)): 6,
    }
    assert "# TYPE soip_packets_total counter\n" in text
    assert PACKETS.written == "soip_packets_total"
    assert DEPTH.written == "soip_depth_bytes"


async def test_a_family_without_samples_is_left_out() -> None:
    assert await write([(PACKETS, []), (DEPTH, [((), 1)])]) == await write([(DEPTH, [((), 1)])])


async def test_many_samples_are_written_in_turns_with_other_work() -> None:
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    text = await write([(PACKETS, [((f"cam-{number}", "lost"), number) for number in range(20 * SLICE + 1)])])
    beside.cancel()
    assert turns >= 20
    assert text.count("# HELP") == text.count("# TYPE") == 1
    assert len(read(text)) == 20 * SLICE + 1


@pytest.mark.parametrize("text", ["", "# HELP", "# HELP soip_x", "# HELP soip_x x", "soip_x 1", "\n\n"])
def test_what_is_no_text_of_ours_spoils_no_other(text: str) -> None:
    good = "# HELP soip_y y\n# TYPE soip_y gauge\nsoip_y 1.0\n"
    assert merge([text, good]).endswith(good)


async def test_a_sample_has_as_many_values_as_its_family_has_labels() -> None:
    with pytest.raises(ValueError, match="zip"):
        await write([(PACKETS, [(("gate",), 1)])])


async def test_a_process_tells_of_itself() -> None:
    found = read(await write(of_process("web")))
    assert {name for name, _ in found} == {family.written for family in PROCESS}
    memory = found["soip_process_resident_memory_bytes", (("process", "web"),)]
    assert 10e6 < memory < 10e9
    assert found["soip_process_cpu_seconds_total", (("process", "web"),)] > 0
    assert found["soip_process_open_files", (("process", "web"),)] > 2


LABEL = st.text(min_size=1, max_size=8)
ROLES = st.lists(
    st.dictionaries(st.sampled_from((PACKETS, DEPTH, TIMES)), st.integers(0, 2**53), max_size=3), max_size=4
)


@given(ROLES, LABEL)
async def test_joined_texts_say_all_that_each_said(roles: Sequence[dict[Family, int]], label: str) -> None:
    """Whatever stands in labels, also what looks like the head of a family."""
    texts = []
    told: Read = {}
    by_process = [
        Family(each.name, each.kind, each.help, ("process", *each.labels)) for each in (PACKETS, DEPTH, TIMES)
    ]
    for number, figures in enumerate(roles):
        samples: list[tuple[Family, list[Sample]]] = []
        for family in by_process:
            for given_, figure in figures.items():
                if given_.name == family.name:
                    values = (str(number), *[f"\n# HELP {label}"] * (len(family.labels) - 1))
                    value = Spread((1.0,), (figure, 1), 1.0) if family.kind == "histogram" else float(figure)
                    samples.append((family, [(values, value)]))
        texts.append(await write(samples))
        told |= read(texts[-1])
    assert read(merge(texts)) == told


# -- who may see them


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Authorization": "Bearer 00"}, 401),
        ({"Authorization": f"Basic {b'key'.hex()}"}, 401),
        ({"Authorization": "Bearer é".encode()}, 401),
        ({"Authorization": f"Bearer {b'key'.hex()}"}, 200),
        ({"Authorization": f"bearer  {b'key'.hex()} "}, 200),
    ],
)
async def test_a_face_is_for_who_has_the_key(headers: dict[str, str], status: int) -> None:
    app = Starlette(routes=[face(lambda: [(DEPTH, [((), 1)])], b"key")])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        answer = await client.get("/metrics", headers=headers)
    assert answer.status_code == status
    if status == 200:
        assert answer.headers["content-type"] == CONTENT_TYPE
        assert read(answer.text) == {("soip_depth_bytes", ()): 1}
    else:
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert "soip_depth" not in answer.text


async def test_without_a_key_nobody_is_let_in() -> None:
    app = Starlette(routes=[face(list, b"")])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
        assert (await client.get("/metrics", headers={"Authorization": "Bearer "})).status_code == 401


def test_a_token_is_made_once_and_is_its_owners(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    token = access_token(settings)
    assert len(token) > 40
    assert access_token(settings) == token
    assert stat.S_IMODE(settings.metrics_token_file.stat().st_mode) == 0o600
    settings.metrics_token_file.write_text("\n")
    assert access_token(settings) not in ("", token), "an empty file is none"
    assert [file.name for file in tmp_path.iterdir()] == ["metrics-token"]


def test_a_token_of_the_settings_needs_no_file(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, metrics_token="a-token-of-our-own")
    assert access_token(settings) == "a-token-of-our-own"
    assert not settings.metrics_token_file.exists()
    assert "a-token" not in repr(settings)


def test_a_token_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    settings.metrics_token_file.mkdir()
    with pytest.raises(StartError, match=r"metrics-token cannot be used .*SOIP_METRICS_TOKEN"):
        access_token(settings)


@pytest.mark.parametrize("token", ["short", "with a space in its middle", "x" * 300])
def test_tokens_that_are_too_easy_are_refused(tmp_path: Path, token: str) -> None:
    with pytest.raises(SettingsError, match="metrics_token"):
        Settings.load(data=tmp_path, metrics_token=token)
