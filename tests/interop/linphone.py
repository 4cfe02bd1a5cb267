"""linphone 5.1, a phone people use, as Debian ships it: told what to do over the pipe of its daemon."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from pathlib import Path

from tests.interop.namespace import Namespace
from tests.peers import need
from tests.site import DOMAIN, SIP_PASSWORD, USER, Program, Site, until

_CONFIG = """\
[sip]
{trust}
default_proxy=0
sip_port={udp}
sip_tcp_port={tcp}
sip_tls_port={tls}
media_encryption=none
[net]
mtu=1300
nat_policy_ref=none
[video]
enabled=0
capture=0
display=0
[auth_info_0]
username={user}
passwd={password}
realm={domain}
[proxy_0]
reg_proxy={server}
reg_route={server}
reg_identity=sip:{user}@{domain}
reg_expires=600
reg_sendregister=1
publish=0
"""


class Linphone:
    """A phone of `USER` in a namespace. `authority`: the CA it believes, for TLS; names it knows by DNS only."""

    def __init__(
        self,
        site: Site,
        network: Namespace,
        folder: Path,
        transport: str,
        *,
        authority: str = "",
        password: str = SIP_PASSWORD,
    ) -> None:
        address = site.settings["SOIP_SIP_TLS"] if transport == "tls" else site.sip_address
        trust = f"root_ca={authority}\nverify_server_certs=1\nverify_server_cn=0" if authority else ""
        ports = {name: -1 if name == transport else 0 for name in ("udp", "tcp", "tls")}  # -1: any; 0: none
        (folder / ".local/share/linphone").mkdir(parents=True)
        config = _CONFIG.format(
            server=f"<sip:{address};transport={transport}>",
            trust=trust,
            user=USER,
            domain=DOMAIN,
            password=password,
            **ports,
        )
        (folder / "linphonerc").write_text(config)
        self._pipe = Path(f"/tmp/soip-{network.name}-{folder.name}-{transport}")  # where the daemon puts it
        options = ("--config", str(folder / "linphonerc"), "--pipe", self._pipe.name)
        command = network.command("env", f"HOME={folder}", need("linphone-daemon"), *options)
        self._talk: socket.socket | None = None  # one for all: the daemon listens to one at a time
        self.program: Program = site.run("linphone", command)

    @property
    def text(self) -> str:
        """What it has printed."""
        return self.program.text

    def tell(self, command: str) -> str:
        """Give a command; the answer."""
        if self._talk is None:
            until(self._pipe.exists, explain=lambda: self.text)
            self._talk = socket.socket(socket.AF_UNIX)
            self._talk.settimeout(30)
            self._talk.connect(str(self._pipe))
        self._talk.sendall(command.encode() + b"\n")
        return self._talk.recv(65_536).decode("utf-8", "replace")

    def until(self, command: str, words: str, within: float = 40.0) -> None:
        """Ask again and again until the answer has these words. Raises AssertionError with the last answer."""
        deadline = time.monotonic() + within
        while words not in (answer := self.tell(command)):
            assert time.monotonic() < deadline, f"{command}: {answer}\n{self.text[-4000:]}"
            time.sleep(0.2)  # another process wakes nobody here

    def stop(self) -> None:
        """End it, as by SIGTERM: it unregisters."""
        if self._talk is not None:
            self._talk.close()
        self.program.stop()
        with suppress(FileNotFoundError):
            self._pipe.unlink()
