"""What a role counts, in the text format of Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats/).

Nothing is counted here: at each scrape a role gives what its rooms have counted anyway, as pairs of a `Family` and its
samples, and these are written some at a time, so that the event loop goes on in between. Each role shows them at
`/metrics` of a face of its own, to who has the key that all roles share through the directory; the web role gathers
them and is the one address for scrapers (`web/metrics.py`).
"""

from __future__ import annotations

import asyncio
import hmac
import os
import resource
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from prometheus_client import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from soip.config import Settings
from soip.lifeline import StartError

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
SLICE = 50
"""Samples written in one go: less than a millisecond's work."""
KEY = "metrics-key"
"""The directory's secret that opens the faces of the roles."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How often something lay at or below each bound; one more count is for what lies above all of them."""

    bounds: Sequence[float]
    counts: Sequence[int]
    total: float


@dataclass(frozen=True, slots=True)
class Family:
    """One name, what is counted under it, and how it is told apart. A counter's name is written with `_total`."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()

    @property
    def written(self) -> str:
        """The name as it is scraped."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


Sample = tuple[Sequence[str], float | Spread]
"""The values of the family's labels, and the figure."""
Figures = Iterable[tuple[Family, Iterable[Sample]]]

CPU = Family("soip_process_cpu_seconds", "counter", "CPU time of a process and its threads.", ("process",))
MEMORY = Family("soip_process_resident_memory_bytes", "gauge", "Memory of a process that is in RAM.", ("process",))
FILES = Family("soip_process_open_files", "gauge", "Files and sockets a process has open.", ("process",))
STARTED = Family("soip_process_start_time_seconds", "gauge", "When a process was started, UNIX time.", ("process",))
PROCESS = (CPU, MEMORY, FILES, STARTED)

_started = time.time()


def of_process(name: str) -> Iterator[tuple[Family, list[Sample]]]:
    """What every role tells of itself."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    figures = (usage.ru_utime + usage.ru_stime, resident, len(os.listdir("/proc/self/fd")), _started)
    for family, figure in zip(PROCESS, figures, strict=True):
        yield family, [((name,), figure)]


class _One:
    """A single family, in the form that the library writes."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> list[Metric]:
        return [self._metric]


async def write(figures: Figures) -> str:
    """The figures as text. Families without a sample are left out."""
    parts: list[str] = []
    for family, samples in figures:
        rest, headed = iter(samples), False
        while some := list(islice(rest, SLICE)):
            text = generate_latest(_One(_metric(family, some))).decode()
            parts.append(text.split("\n", 2)[2] if headed else text)
            headed = True
            await asyncio.sleep(0)
    return "".join(parts)


def _metric(family: Family, samples: Iterable[Sample]) -> Metric:
    metric = Metric(family.name, family.help, family.kind)
    for values, figure in samples:
        labels = dict(zip(family.labels, values, strict=True))
        if isinstance(figure, Spread):
            so_far = 0
            for bound, count in zip([*map(str, figure.bounds), "+Inf"], figure.counts, strict=True):
                so_far += count
                metric.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, so_far)
            metric.add_sample(f"{family.name}_sum", labels, figure.total)
            metric.add_sample(f"{family.name}_count", labels, so_far)
        else:
            metric.add_sample(family.written, labels, figure)
    return metric


def merge(texts: Iterable[str]) -> str:
    """The figures of several roles as one text: all samples of a family stand together under one head, as the format
    asks.
    """
    families: dict[str, list[str]] = {}
    for text in texts:
        for block in ("\n" + text).split("\n# HELP ")[1:]:
            described, kind, samples = (block + "\n\n").split("\n", 2)
            samples = samples.rstrip("\n") + "\n"
            name = described.partition(" ")[0]
            head = f"# HELP {described}\n{kind}\n"
            families.setdefault(name, [head]).append(samples)
    return "".join(part for family in families.values() for part in family)


def shows(request: Request, token: str) -> bool:
    """Whether a request carries this bearer token (RFC 6750 §2.1). An empty token opens nothing."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    return bool(token) and scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode())


def refused() -> Response:
    """The answer to who shows none, or a wrong one (RFC 6750 §3)."""
    text = "metrics are shown to administrators who have signed in, and to who has the token: see docs/metrics.md"
    body = {"error": "not_signed_in", "message": text}
    return JSONResponse(body, 401, {"WWW-Authenticate": 'Bearer realm="SoIP metrics"'})


def face(figures: Callable[[], Figures], key: bytes) -> Route:
    """`GET /metrics` of a role's own face: for the web role, which has the key too."""

    async def show(request: Request) -> Response:
        if not shows(request, key.hex()):
            return refused()
        return PlainTextResponse(await write(figures()), media_type=CONTENT_TYPE)

    return Route("/metrics", show)


def access_token(settings: Settings) -> str:
    """The token that scrapers show to the web role: the setting, else what stands in the file, which is made where
    there is none. Raises StartError.
    """
    if settings.metrics_token is not None:
        return settings.metrics_token
    file = settings.metrics_token_file
    try:
        return read_token(file) or _make_token(file)
    except OSError as error:
        raise StartError(f"{file} cannot be used ({error.strerror}): mend it, or set SOIP_METRICS_TOKEN") from error


def read_token(file: Path) -> str:
    """The token of a file; empty where there is none. Raises OSError."""
    try:
        return file.read_text("utf-8", "replace").strip()
    except FileNotFoundError:
        return ""


def _make_token(file: Path) -> str:
    token = secrets.token_urlsafe(32)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(token + "\n")
    draft.replace(file)
    return token
