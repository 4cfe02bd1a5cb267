"""Room on the disk for a file that grows, set aside ahead of what is written.

Hundreds of files grow at once, and each is synced every few seconds: without that, each of them ends up in hundreds of
pieces among the others', and every block costs the file system an account of its own. What is set aside lies behind the
end of the file, whose size does not change; who ends the file gives the rest back, by cutting it at its end (so ext4
and XFS have it).
"""

import ctypes

_KEEP_SIZE = 1  # Linux, fallocate(2)
LEAST, _MOST = 256 << 10, 64 << 20

_LIBC = ctypes.CDLL(None, use_errno=True)
_FALLOCATE = getattr(_LIBC, "fallocate64", None) or _LIBC.fallocate
_FALLOCATE.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_FALLOCATE.restype = ctypes.c_int


def set_aside(descriptor: int, end: int, most: int) -> int:
    """Set room aside for a file that ends there and has none: about as much as it has by now, at most so many bytes.
    Return where that ends; `end`, if there is none to be had, or the file system does not know of this.
    """
    size = min(max(end, LEAST), _MOST, most)
    if size < LEAST or _FALLOCATE(descriptor, _KEEP_SIZE, end, size):
        return end
    return end + size
