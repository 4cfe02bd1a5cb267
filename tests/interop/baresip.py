"""baresip, a phone people use, as Debian ships it (1.0): as a camera that sends a film, as a viewer who calls one.

It is told what to do over its TCP control port (netstrings of JSON), from inside its namespace. As a source it needs
`avformat` (with `fakevideo` it never answers), and decodes and encodes again what the file holds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.interop.namespace import Namespace
from tests.peers import need
from tests.site import DOMAIN, PATIENT_S, Program, Site, until

MODULES = "/usr/lib/baresip/modules"
CONTROL = 4444

_CONFIG = """\
poll_method epoll
sip_listen {address}:5060
sip_trans_def udp
{tls}
audio_player aubridge,nil
audio_alert aubridge,nil
{audio}
video_source {video}
video_display fakevideo,nil
video_size {size}
video_bitrate {bitrate}
video_fps {rate}
video_fullscreen no
videoenc_format yuv420p
rtp_tos 184
rtp_ports 10000-10200
rtp_stats no
rtp_timeout 60
jitter_buffer_delay 5-10
module_path {modules}
module g711.so
module aubridge.so
module aufile.so
module avcodec.so
module avformat.so
module fakevideo.so
module_tmp uuid.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
{more}avcodec_h264enc libx264
avcodec_h264dec h264
ctrl_tcp_listen 127.0.0.1:{control}
menu_bell no
"""

_SENDER = """
import socket, sys
text = sys.argv[2]
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 30) as s:
    s.sendall(f"{len(text)}:{text},".encode())
    s.settimeout(1)
    try:
        print(s.recv(65536).decode("utf-8", "replace"))
    except TimeoutError:
        pass
"""


class Baresip:
    """One phone in its namespace, running until the site ends. `contacts` are lines of its book, whose presence it
    follows.
    """

    def __init__(
        self,
        site: Site,
        namespace: Namespace,
        user: str,
        password: str,
        *,
        film: Path | None = None,
        sound: Path | None = None,
        size: str = "640x480",
        rate: int = 25,
        bitrate: int = 1_000_000,
        codecs: str = "",
        contacts: str = "",
        tls: tuple[str, str] | None = None,
        opus: bool = False,
        encryption: str = "",
    ) -> None:
        """`tls`: address of the server and the CA to believe; else it speaks UDP. `encryption`: of media, "srtp" where
        the other side does it too, or "srtp-mand".
        """
        folder = site.folder / f"baresip-{user}{'-udp' * (bool(encryption) and not tls)}"
        folder.mkdir()
        config = _CONFIG.format(
            address=namespace.address,
            audio=f"audio_source aufile,{sound}" if sound else "audio_source aubridge,nil",
            video=f"avformat,{film}" if film else "fakevideo,nil",
            size=size,
            bitrate=bitrate,
            rate=rate,
            modules=MODULES,
            control=CONTROL,
            more=("module_app contact.so\nmodule_app presence.so\n" if contacts else "")
            + ("module opus.so\n" if opus else "")
            + ("module srtp.so\n" if encryption else ""),
            tls=f"sip_cafile {tls[1]}" if tls else "",
        )
        (folder / "config").write_text(config)
        transport, proxy = ("tls", f"sip:{tls[0]};transport=tls") if tls else ("udp", f"sip:{site.sip_address}")
        account = (
            f"<sip:{user}@{DOMAIN};transport={transport}>;auth_user={user};auth_pass={password};"
            f'outbound="{proxy}";regint=60;answermode=auto{codecs}'
            f"{';mediaenc=' + encryption if encryption else ''}\n"
        )
        (folder / "accounts").write_text(account)
        (folder / "contacts").write_text(contacts)
        self._namespace = namespace
        # Its output is a pipe's for the C library: without a line buffer it would come in blocks.
        need(f"{MODULES}/avcodec.so")
        command = namespace.command("stdbuf", "-oL", "-eL", need("baresip"), "-s", "-f", str(folder))
        self.program: Program = site.run(f"baresip-{user}", command)

    @property
    def text(self) -> str:
        return self.program.text

    def until(self, words: str, within: float = PATIENT_S, times: int = 1) -> None:
        """Wait until it has said something."""
        until(lambda: self.text.count(words) >= times, within, lambda: f"no {words!r} in:\n{self.text[-6000:]}")

    def tell(self, command: str, parameters: str = "") -> str:
        """A command as its menu knows it: `dial`, `hangup`."""
        text = json.dumps({"command": command, "params": parameters})
        sender = [sys.executable, "-S", "-c", _SENDER, str(CONTROL), text]
        sender = self._namespace.command(*sender)
        done = subprocess.run(sender, capture_output=True, text=True, timeout=PATIENT_S, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def dial(self, address: str) -> None:
        self.tell("dial", address)

    def hang_up(self) -> None:
        self.tell("hangup")
