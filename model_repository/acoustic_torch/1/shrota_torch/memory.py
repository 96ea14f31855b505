"""glibc's memory: what a model's process keeps for the next request."""

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of ``malloc.h``."""
MIB = 2**20


def keep_buffers(most: int = 32 * MIB, kept: int = 128 * MIB) -> None:
    """Buffers of up to ``most`` bytes are kept when they are free, up to ``kept`` of them, for those that come next.

    The server starts its processes with low thresholds, so that what long files use goes back at once. Where batches
    are copied all the time, to get their pages cleared by the system anew costs more than the work itself. Where there
    is no glibc nothing happens.
    """
    libc = _libc()
    if libc is not None:
        libc.mallopt(M_MMAP_THRESHOLD, most)
        libc.mallopt(M_TRIM_THRESHOLD, kept)


def _libc() -> "ctypes.CDLL | None":
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None
