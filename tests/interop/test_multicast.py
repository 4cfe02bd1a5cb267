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
from pathlib import Path

import pytest

from soip.net.call import Call
from soip.net.sip import SipEndpoint
from soip.net.target import Target
from soip.net.ua import UserAgent
from soip.sip.digest import Credentials
from soip.sip.offer import Audio, Local, Video, make_offer
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


def ended(players: list[Program]) -> bool:
    return all(player.process.poll() is not None for player in players)


def test_players_in_another_network_share_one_send(site: Site, network: Namespace, tmp_path: Path) -> None:
    """Four players; whatever their number, each packet is on the wire once. When the last has gone nothing is."""
    films = [tmp_path / f"film-{number}.mp4" for number in range(4)]
    groups = [f"{PREFIX}.{number}" for number in range(8)]
    players = [play(site, network, film, "--duration", "6") for film in films]
    until(lambda: site.count("multicast group taken", what="video") >= 1, explain=site.explain)
    (taken, *_) = [e["group"] for e in site.entries if e["event"] == "multicast group taken" and e["what"] == "video"]
    assert taken in groups
    packets: list[bytes] = []
    with listening(network, taken) as sock:

        def over() -> bool:
            packets.extend(drained(sock))
            return ended(players)

        until(over, explain=lambda: "\n".join(player.text for player in players) + site.explain())
        assert [player.process.returncode for player in players] == [0] * 4, [player.text for player in players]
        for player in players:
            assert f"by multicast from {taken}:5004" in player.text.replace("\n", " ")
        until(lambda: site.count("multicast group left") == site.count("multicast group taken"), explain=site.explain)
        packets.extend(drained(sock))
        assert drained(sock) == []
    assert len(packets) > 100
    for ssrc in {packet[8:12] for packet in packets}:
        seen = Counter(packet[2:4] for packet in packets if packet[8:12] == ssrc)
        assert set(seen.values()) == {1}
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
        media = [Video(40_000, receives=True, multicast=True), Audio(40_002, ("PCMU",), receives=True, multicast=True)]
        offer = make_offer(Local(network.host, 1), media)
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
        outputs = ("-map", "0:v", "-frames:v", str(FRAMES), "-f", "framemd5", str(seen))
        outputs += ("-map", "0:a", "-t", "2", "-f", "framemd5", str(heard))
        command = network.command(need("ffmpeg"), "-nostdin", "-v", "error", *allowed, *outputs)
        ffmpeg = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
        _, errors = await asyncio.wait_for(ffmpeg.communicate(), PATIENT_S)
        assert ffmpeg.returncode == 0, errors
    lines = {path: [line for line in path.read_text().splitlines() if line[0] != "#"] for path in (seen, heard)}
    assert len(lines[seen]) == FRAMES
    assert len(lines[heard]) > 20


def test_without_groups_the_player_says_that_it_came_otherwise(tmp_path: Path) -> None:
    with Site(tmp_path) as site:
        site.add_camera("cam1")
        site.add_user()
        site.start()
        site.simulate("cam1")
        site.until_camera("cam1")
        film = tmp_path / "film.mp4"
        done = site.soip(*site.play_command("cam1", film, "--rtp", "multicast", "--duration", "2"))
        assert "not by multicast: the server has no group for it" in done.stderr.replace("\n", " ")
        assert decode(film) > 25


def test_what_cannot_be_is_told_before_anything_is_called(tmp_path: Path) -> None:
    site = Site(tmp_path)
    command = site.play_command("cam1", tmp_path / "film.mp4", "--rtp", "multicast", "--srtp", "--transport", "tls")
    done = site.soip(*command, check=False)
    assert done.returncode == 2
    assert "is not encrypted" in done.stderr
