"""A child that cannot outlive its supervisor, even when that one is killed with -9.

The supervisor names itself in `SOIP_SUPERVISOR`; a child asks the kernel for its own end at that of its
parent. It is SIGKILL, so that a server started again at once finds its ports free. Recordings are made to
survive this.
"""

from __future__ import annotations

import ctypes
import os
import signal

VARIABLE = "SOIP_SUPERVISOR"

EXIT_CANNOT_START = 78
"""A supervised process ends with this (EX_CONFIG of sysexits.h) when starting it again would not help."""

_PR_SET_PDEATHSIG = 1  # prctl(2)


class StartError(Exception):
    """The process cannot start as the settings want it; the text says what to do."""

    @property
    def exit_code(self) -> int:
        """1 for people, or what tells the supervisor not to try again."""
        return EXIT_CANNOT_START if supervised() else 1


def supervised() -> bool:
    """True in a child of a supervisor."""
    return VARIABLE in os.environ


def tie_to_parent() -> None:
    """To be called first thing in every process; does something in supervised ones only."""
    parent = os.environ.get(VARIABLE)
    if parent is None:
        return
    # Ctrl-C, and the hang-up of a terminal, reach its whole process group; the supervisor alone decides what
    # ends, and in what order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl: {os.strerror(error)}")
    if os.getppid() != int(parent):
        os._exit(1)  # The supervisor died before the kernel knew of our wish.
