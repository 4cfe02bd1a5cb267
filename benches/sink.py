"""The viewers of the fan-out benchmark: one process that reads what comes and does nothing with it.

    python -m benches.sink FIRST_PORT VIEWERS

Prints "ready"; ends with its standard input, then prints how many packets came.
"""

from __future__ import annotations

import select
import socket
import sys

from benches.measured import OTHER_CPU, pin, tell


def main(first_port: int, viewers: int) -> None:
    pin(OTHER_CPU)
    poll = select.epoll()
    sockets = {}
    for viewer in range(viewers):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sock.bind(("127.0.0.1", first_port + 2 * viewer))
        poll.register(sock, select.EPOLLIN)
        sockets[sock.fileno()] = sock
    poll.register(0, select.EPOLLIN)
    buffer = bytearray(65_536)
    packets = 0
    tell("ready")
    while True:
        for number, _ in poll.poll():
            if number == 0:
                tell(str(packets))
                return
            read = sockets[number].recv_into
            try:
                while True:
                    read(buffer)
                    packets += 1
            except BlockingIOError:
                pass


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
