"""As much of CUDA as a plan needs: memory on the GPU, copies, a stream. By the driver's own library, without a package.

Function names are those of the CUDA driver API (https://docs.nvidia.com/cuda/cuda-driver-api); ``_v2`` is the current
version of a function, not a newer variant of it.
"""

import ctypes
from typing import Any, Protocol

from numpy.typing import NDArray

LIBRARY = "libcuda.so.1"
OUT_OF_MEMORY = 2


class CudaError(Exception):
    """A call of the driver failed, or there is none; one line."""


class CudaMemoryError(CudaError):
    """The GPU has not enough free memory."""


class Device(Protocol):
    """A GPU, for one thread at a time. Addresses are those of the GPU."""

    stream: int
    """the stream's handle, for TensorRT"""

    def activate(self) -> None:
        """Makes it the calling thread's GPU."""

    def allocate(self, size: int) -> int:
        """The address of ``size`` new bytes."""

    def free(self, address: int) -> None:
        """Gives memory back."""

    def upload(self, array: NDArray[Any], address: int) -> None:
        """Copies a C-contiguous array there, in the stream's order; the array must live until ``synchronize``."""

    def download(self, address: int, array: NDArray[Any]) -> None:
        """Fills a C-contiguous array from there, in the stream's order; it is filled after ``synchronize``."""

    def synchronize(self) -> None:
        """Waits until the stream has done everything."""


class CudaDevice:
    """The GPU with number ``ordinal``, among those that ``CUDA_VISIBLE_DEVICES`` leaves.

    Raises:
        CudaError: there is no driver or no such GPU.
    """

    def __init__(self, ordinal: int = 0) -> None:
        try:
            self._cuda = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise CudaError("there is no NVIDIA driver here (libcuda.so.1): plans run on a GPU only") from error
        self._call("cuInit", 0)
        device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(device), ordinal)
        self._context = ctypes.c_void_p()
        # the context that TensorRT, which uses the runtime API, works in
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), device)
        self.activate()
        stream = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(stream), 1)  # CU_STREAM_NON_BLOCKING
        self.stream = int(stream.value or 0)

    def activate(self) -> None:
        """See :meth:`Device.activate`."""
        self._call("cuCtxSetCurrent", self._context)

    def allocate(self, size: int) -> int:
        """See :meth:`Device.allocate`.

        Raises:
            CudaMemoryError: there is not so much.
        """
        address = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(1, size)))
        return int(address.value)

    def free(self, address: int) -> None:
        """See :meth:`Device.free`."""
        self._call("cuMemFree_v2", ctypes.c_uint64(address))

    def upload(self, array: NDArray[Any], address: int) -> None:
        """See :meth:`Device.upload`."""
        self._call("cuMemcpyHtoDAsync_v2", ctypes.c_uint64(address), *_memory(array), ctypes.c_void_p(self.stream))

    def download(self, address: int, array: NDArray[Any]) -> None:
        """See :meth:`Device.download`."""
        pointer, size = _memory(array)
        self._call("cuMemcpyDtoHAsync_v2", pointer, ctypes.c_uint64(address), size, ctypes.c_void_p(self.stream))

    def synchronize(self) -> None:
        """See :meth:`Device.synchronize`."""
        self._call("cuStreamSynchronize", ctypes.c_void_p(self.stream))

    def _call(self, function: str, *arguments: object) -> None:
        status = int(getattr(self._cuda, function)(*arguments))
        if status == 0:
            return
        name = ctypes.c_char_p()
        self._cuda.cuGetErrorName(status, ctypes.byref(name))
        text = f"CUDA: {function} failed with {(name.value or b'an unknown error').decode()}"
        if status == OUT_OF_MEMORY:
            raise CudaMemoryError(text)
        raise CudaError(text)


def _memory(array: NDArray[Any]) -> tuple[ctypes.c_void_p, ctypes.c_size_t]:
    if not array.flags.c_contiguous:
        raise ValueError("the array must be C-contiguous")
    return ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
