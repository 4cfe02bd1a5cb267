"""Multicast through the whole server, into another network: our players join the group, and ffmpeg, which is told of it
by the answer of the call as it stands.
"""

from __future__ import annotations

import asyncio
import random
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

import pytest

from soip.net.call import Call
from soip.net.sip import SipEndpoint
from soip.net.target import Target
from soip.net.ua import UserAgent
from soip.sip.digest import Credentials
from soip.sip.formats import Audio, Video
from soip.sip.offer import Local, make_offer
from soip.sip.sdp import SessionDescription
from soip.sip.uri import Uri
from tests.interop.film import decode, probe
from tests.interop.namespace import Namespace
from tests.peers import need
from tests.site import DOMAIN, PATIENT_S, SIP_PASSWORD, USER, Program, Site, until

pytestmark = pytest.mark.interop

PREFIX = f"239.{random.randrange(1, 254)}.{random.randrange(256)}"
FRAMES = 40


@pytest.fixture(scope="module")
def network() -> Iterator[Namespace]:
    """A network in which groups are looked for on its only wire."""
    with Namespace() as network:
        route = network.command("ip", "route", "add", "224.0.0.0/4", "dev", network.device)
        subprocess.run(route, check=True, timeout=60)
        yield network


@pytest.fixture(scope="module")
def site(network: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server with eight groups, that records a software camera with sound."""
    folder = tmp_path_factory.mktemp("multicast")
    with Site(folder, host=network.host, multicast_groups=f"{PREFIX}.0/29", multicast_ttl=2) as site:
        site.add_camera("cam1", "--audio")
        site.add_user()
        site.start()
        site.simulate("cam1")
        site.until_camera("cam1")
        yield site


@contextmanager
def listening(network: Namespace, address: str) -> Iterator[socket.socket]:
    """A plain socket in a group, on the server's side of the wire."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        sock.bind((address, 5004))
        group = socket.inet_aton(address) + socket.inet_aton(network.host)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        sock.setblocking(False)
        yield sock


def play(site: Site, network: Namespace, film: Path, *options: str) -> Program:
    command = site.play_command("cam1", film, "--rtp", "multicast", *options)
    return site.run(film.stem, network.command(sys.executable, "-m", "soip", *command))


def told_by(players: list[Program], site: Site) -> str:
    return "\n".join(player.text for player in players) + site.explain()


def ended(players: list[Program]) -> bool:
    return all(player.process.poll() is not None for player in players)


async def test_players_in_another_network_share_one_send(site: Site, network: Namespace, tmp_path: Path) -> None:
    """Four players beside a first viewer: each packet is on the wire once. When the last has gone nothing is."""
    films = [tmp_path / f"film-{number}.mp4" for number in range(4)]
    packets: list[bytes] = []
    async with watching(site, network) as (_, answer):
        taken = answer.media[0].connection or ""
        assert taken in {f"{PREFIX}.{number}" for number in range(8)}
        with listening(network, taken) as sock:
            players = [play(site, network, film, "--duration", "4") for film in films]

            def over() -> bool:
                packets.extend(drained(sock))
                return ended(players)

            told = partial(told_by, players, site)
            await asyncio.to_thread(until, over, explain=told)
    with listening(network, taken) as sock:
        assert [player.process.returncode for player in players] == [0] * 4, [player.text for player in players]
        for player in players:
            assert f"by multicast from {taken}:5004" in player.text.replace("\n", " ")
        until(lambda: site.count("multicast group left") == site.count("multicast group taken"), explain=site.explain)
        drained(sock)
        before = site.frames("cam1")
        until(lambda: site.frames("cam1") > before, explain=site.explain)
        assert drained(sock) == [], "the camera goes on, and nothing is sent"
    assert len({packet[8:12] for packet in packets}) == 1
    seen = Counter(packet[2:8] for packet in packets)
    assert set(seen.values()) == {1}
    assert len(seen) > 100
    for film in films:
        assert decode(film) > 50
        kinds = [stream["codec_type"] for stream in probe(film, "-show_entries", "stream=codec_type")["streams"]]
        assert sorted(kinds) == ["audio", "video"]


def drained(sock: socket.socket) -> list[bytes]:
    packets: list[bytes] = []
    while True:
        try:
            packets.append(sock.recv(65_536))
        except BlockingIOError:
            return packets


@asynccontextmanager
async def watching(site: Site, network: Namespace) -> AsyncIterator[tuple[Call, SessionDescription]]:
    """A call that asks for multicast, and its answer. What is sent to it goes to the group, so it needs no sockets."""
    endpoint = SipEndpoint(network.host, 0)
    await endpoint.start()
    me = Uri.parse(f"sip:{USER}@{DOMAIN}")
    server = Target("udp", site.host, site.sip)
    agent = UserAgent(endpoint, me, Credentials(USER, SIP_PASSWORD), server)
    await agent.start()
    try:
        video, audio = Video(40_000, receives=True, multicast=True), Audio(40_002, receives=True, multicast=True)
        offer = make_offer(Local(network.host, 1), [video, audio])
        call = await agent.invite(Uri.parse(f"sip:cam1@{DOMAIN}"), offer.to_bytes(), within=PATIENT_S)
        yield call, SessionDescription.parse(call.remote_sdp)
        await call.bye()
    finally:
        await agent.close()
        await endpoint.close()


async def test_ffmpeg_plays_the_answer(site: Site, network: Namespace, tmp_path: Path) -> None:
    """Pictures and sound out of the groups that the description names, from the source that it names."""
    async with watching(site, network) as (_, answer):
        assert {media.connection in {f"{PREFIX}.{n}" for n in range(8)} for media in answer.media} == {True}
        description = tmp_path / "answer.sdp"
        description.write_bytes(answer.to_bytes())
        allowed = ("-protocol_whitelist", "file,udp,rtp", "-i", str(description))
        seen, heard = tmp_path / "seen.txt", tmp_path / "heard.txt"
        outputs = ["-map", "0:v", "-frames:v", str(FRAMES), "-f", "framemd5", str(seen)]
        outputs += ["-map", "0:a", "-t", "2", "-f", "framemd5", str(heard)]
        command = network.command(need("ffmpeg"), "-nostdin", "-v", "error", *allowed, *outputs)
        ffmpeg = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        _, errors = await asyncio.wait_for(ffmpeg.communicate(), PATIENT_S)
        assert ffmpeg.returncode == 0, errors
    lines = {path: [line for line in path.read_text().splitlines() if line[0] != "#"] for path in (seen, heard)}
    assert len(lines[seen]) == FRAMES
    assert len(lines[heard]) > 20
