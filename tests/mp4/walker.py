"""An own, plain reading of MP4 after ISO/IEC 14496-12, sharing no line with what it checks."""

from __future__ import annotations

from dataclasses import dataclass, field

CONTAINERS = {"moov", "trak", "edts", "mdia", "minf", "dinf", "stbl", "mvex", "moof", "traf"}


@dataclass
class Node:
    """A box: `body` without header; `inner` boxes of a container."""

    kind: str
    offset: int
    size: int
    body: bytes
    inner: list[Node] = field(default_factory=list)

    def one(self, path: str) -> Node:
        node = self
        for kind in path.split("/"):
            found = [child for child in node.inner if child.kind == kind]
            assert len(found) == 1, f"{len(found)} {kind} in {node.kind}"
            node = found[0]
        return node

    def all(self, kind: str) -> list[Node]:
        return [child for child in self.inner if child.kind == kind]

    @property
    def version(self) -> int:
        return self.body[0]

    @property
    def flags(self) -> int:
        return int.from_bytes(self.body[1:4], "big")

    def number(self, at: int, size: int = 4, *, signed: bool = False) -> int:
        assert at + size <= len(self.body), f"{self.kind} is too small"
        return int.from_bytes(self.body[at : at + size], "big", signed=signed)


def tree(data: bytes, offset: int = 0) -> list[Node]:
    """All boxes of `data`, which they must fill (§4.2). `offset`: where it lies in the file."""
    nodes: list[Node] = []
    at = 0
    while at < len(data):
        assert at + 8 <= len(data), "half a box header"
        size = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8].decode("ascii")
        assert 8 <= size <= len(data) - at, f"{kind} of {size} bytes does not fit"
        body = data[at + 8 : at + size]
        inner = tree(body, offset + at + 8) if kind in CONTAINERS else []
        nodes.append(Node(kind, offset + at, size, body, inner))
        at += size
    return nodes


@dataclass
class Sample:
    track: int
    dts: int
    cts: int
    duration: int
    sync: bool
    data: bytes
    damaged: bool


@dataclass
class Movie:
    """A file as the standard reads it."""

    nodes: list[Node]
    samples: list[Sample]
    utc: list[tuple[int, int]]  # (NTP, media time) of every prft
    timescales: dict[int, int]
    skips: dict[int, int]  # media time of each track's edit
    indexed: list[tuple[int, int, int, bool]] | None  # of sidx: offset, size, duration, begins with access point

    def of(self, track: int) -> list[Sample]:
        return [sample for sample in self.samples if sample.track == track]

    @property
    def duration(self) -> int:
        """mehd, in 90 kHz ticks (0: not sealed)."""
        moov = next(node for node in self.nodes if node.kind == "moov")
        assert moov.one("mvhd").number(20) == 90_000
        return moov.one("mvex/mehd").number(4, 8)


def read(data: bytes) -> Movie:
    """Read a file and hold it to the rules: order and nesting of boxes, sizes, offsets, continuity of decode times."""
    nodes = tree(data)
    assert [node.kind for node in nodes[:2]] == ["ftyp", "moov"]
    timescales, skips = _tracks(nodes[1])
    assert codecs(data)
    ends: dict[int, int] = {}
    samples: list[Sample] = []
    utc: list[tuple[int, int]] = []
    sequence = 0
    for number, node in enumerate(nodes):
        if node.kind == "prft":
            assert nodes[number + 1].kind == "moof"
            assert node.version == 1
            assert node.number(4) in timescales
            utc.append((node.number(8, 8), node.number(16, 8)))
        if node.kind == "moof":
            assert nodes[number + 1].kind == "mdat"
            found = node.one("mfhd").number(4)
            assert found > sequence, "sequence numbers rise (§8.8.5)"
            sequence = found
            samples += _fragment(data, node, nodes[number + 1], ends)
    return Movie(nodes, samples, utc, timescales, skips, _index(nodes))


def _tracks(moov: Node) -> tuple[dict[int, int], dict[int, int]]:
    timescales: dict[int, int] = {}
    skips: dict[int, int] = {}
    extended = {node.number(4) for node in moov.one("mvex").all("trex")}
    for trak in moov.all("trak"):
        tkhd, mdhd = trak.one("tkhd"), trak.one("mdia/mdhd")
        assert tkhd.version == mdhd.version == 1
        assert len(tkhd.body) == 96
        assert len(mdhd.body) == 36
        track = tkhd.number(20)
        assert track in extended, "a track with fragments has a trex (§8.8.3)"
        assert 0 < track < moov.one("mvhd").number(108)
        timescales[track] = mdhd.number(20)
        skips[track] = 0
        table = trak.one("mdia/minf/stbl")
        assert table.one("stsd").number(4) == 1
        assert all(table.one(kind).number(at) == 0 for kind, at in (("stts", 4), ("stsc", 4), ("stsz", 8), ("stco", 4)))
        if trak.all("edts"):
            elst = trak.one("edts/elst")
            assert elst.version == 1
            assert elst.number(4) == 1
            skips[track] = elst.number(16, 8, signed=True)
    return timescales, skips


def codecs(data: bytes) -> dict[int, str]:
    """By track, what its sample entry says to be coded with; holds the configuration record of H.265 to the rules."""
    moov = next(node for node in tree(data) if node.kind == "moov")
    return {trak.one("tkhd").number(20): _entry(trak.one("mdia/minf/stbl/stsd")) for trak in moov.all("trak")}


def _entry(stsd: Node) -> str:
    (entry,) = tree(stsd.body[8:])
    if entry.kind != "hvc1":
        return entry.kind
    assert entry.number(6, 2) == 1, "data_reference_index"
    assert min(entry.number(24, 2), entry.number(26, 2)) > 0, "width and height"
    return _hevc(next(node.body for node in tree(entry.body[78:]) if node.kind == "hvcC"))


def _hevc(record: bytes) -> str:
    """ISO/IEC 14496-15 §8.3.3.1.2; returns the name of Annex E.3."""
    assert record[0] == 1, "configurationVersion"
    assert record[13] >> 4 == 15
    assert [record[at] >> 2 for at in (15, 16)] == [63, 63]
    assert [record[at] >> 3 for at in (17, 18)] == [31, 31]
    assert record[21] & 3 == 3, "lengths of four bytes"
    assert record[21] >> 3 & 7 >= 1, "numTemporalLayers"
    kinds: dict[int, bytes] = {}
    at = 23
    for _ in range(record[22]):
        assert record[at] & 0xC0 == 0x80, "complete, as hvc1 demands"
        kind, count = record[at] & 63, int.from_bytes(record[at + 1 : at + 3], "big")
        assert count > 0
        at += 3
        for _ in range(count):
            size = int.from_bytes(record[at : at + 2], "big")
            nal = record[at + 2 : at + 2 + size]
            assert len(nal) == size
            assert nal[0] >> 1 & 63 == kind
            kinds.setdefault(kind, nal)
            at += 2 + size
    assert at == len(record)
    assert list(kinds) == [32, 33, 34]
    general = kinds[33][2:40].replace(b"\0\0\3", b"\0\0")[1:13]
    assert general == record[1:13], "profile, tier and level are those of the SPS"
    name = ["hvc1", ("", "A", "B", "C")[record[1] >> 6] + str(record[1] & 31)]
    name.append(f"{sum((int.from_bytes(record[2:6], 'big') >> bit & 1) << 31 - bit for bit in range(32)):X}")
    name.append(("H" if record[1] & 32 else "L") + str(record[12]))
    constraints = list(record[6:12])
    while constraints and not constraints[-1]:
        constraints.pop()
    return ".".join([*name, *(f"{byte:X}" for byte in constraints)])


def _fragment(data: bytes, moof: Node, mdat: Node, ends: dict[int, int]) -> list[Sample]:
    samples: list[Sample] = []
    for traf in moof.all("traf"):
        tfhd, tfdt, trun = traf.one("tfhd"), traf.one("tfdt"), traf.one("trun")
        assert tfhd.flags & 0x020000, "default-base-is-moof"
        assert not tfhd.flags & 0x1, "no base-data-offset beside it"
        track, default = tfhd.number(4), tfhd.number(8) if tfhd.flags & 0x20 else 0
        assert tfdt.version == 1
        dts = tfdt.number(4, 8)
        assert dts >= ends.get(track, 0), "decode times do not go back"
        assert trun.flags & 0x301 == 0x301
        at, place = 12, moof.offset + trun.number(8, signed=True)
        for _ in range(trun.number(4)):
            duration, size = trun.number(at), trun.number(at + 4)
            at += 8
            flags, offset = default, 0
            if trun.flags & 0x400:
                flags, at = trun.number(at), at + 4
            if trun.flags & 0x800:
                offset, at = trun.number(at, signed=trun.version == 1), at + 4
            sync = not flags & 0x10000
            assert flags >> 24 & 3 == (2 if sync else 1), "sample_depends_on says the same"
            assert mdat.offset + 8 <= place <= place + size <= mdat.offset + mdat.size, "samples lie in mdat"
            assert flags & 0xFFFF <= 1, "the degradation priority is 0, or 1 for what is damaged"
            samples.append(Sample(track, dts, offset, duration, sync, data[place : place + size], bool(flags & 0xFFFF)))
            dts, place = dts + duration, place + size
        assert at == len(trun.body)
        ends[track] = dts
    assert sum(len(sample.data) for sample in samples) == mdat.size - 8, "mdat holds nothing else"
    return samples


def _index(nodes: list[Node]) -> list[tuple[int, int, int, bool]] | None:
    sidx = next((node for node in nodes if node.kind == "sidx"), None)
    if sidx is None:
        return None
    assert sidx.version == 1
    entries, at = [], sidx.offset + sidx.size + sidx.number(20, 8)
    starts = {node.offset for node in nodes if node.kind == "prft"}
    assert sidx.number(28, 2) == 0
    assert len(sidx.body) == 32 + 12 * sidx.number(30, 2)
    for number in range(sidx.number(30, 2)):
        base = 32 + 12 * number
        size = sidx.number(base)
        assert size < 1 << 31, "refers to media"
        assert at in starts, "an entry begins with a fragment"
        entries.append((at, size, sidx.number(base + 4), bool(sidx.number(base + 8) >> 31)))
        at += size
    assert at == nodes[-1].offset + nodes[-1].size, "the index reaches to the end"
    return entries
