"""Calls of the CUDA driver: the right arguments in the right order, and errors by name. The driver is a fake."""
# ruff: noqa: N802, D102 - the driver's own names

import ctypes
from typing import Any

import numpy as np
import pytest

from shrota_tensorrt import cuda
from shrota_tensorrt.cuda import CudaDevice, CudaError, CudaMemoryError


class FakeDriver:
    """libcuda.so.1, whose GPU is the machine's own memory. Arguments are as ctypes passes them."""

    def __init__(self, devices: int = 2) -> None:
        self.devices = devices
        self.blocks: dict[int, Any] = {}
        self.current: int | None = None
        self.failing: dict[str, int] = {}

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("cu"):
            status = self.failing.get(name, 0)
            if status:
                return lambda *_: status
        return super().__getattribute__(name)

    def cuInit(self, flags: int) -> int:
        return int(flags != 0)

    def cuDeviceGet(self, device: Any, ordinal: int) -> int:
        device._obj.value = ordinal
        return 0 if ordinal < self.devices else 101

    def cuDevicePrimaryCtxRetain(self, context: Any, device: ctypes.c_int) -> int:
        context._obj.value = 1000 + device.value
        return 0

    def cuCtxSetCurrent(self, context: ctypes.c_void_p) -> int:
        self.current = context.value
        return 0

    def cuStreamCreate(self, stream: Any, flags: int) -> int:
        stream._obj.value = 77
        return int(flags != 1)

    def cuMemAlloc_v2(self, address: Any, size: ctypes.c_size_t) -> int:
        if size.value > 10_000:
            return 2
        block = ctypes.create_string_buffer(size.value)
        address._obj.value = ctypes.addressof(block)
        self.blocks[ctypes.addressof(block)] = block
        return 0

    def cuMemFree_v2(self, address: ctypes.c_uint64) -> int:
        del self.blocks[address.value]
        return 0

    def cuMemcpyHtoDAsync_v2(
        self, target: ctypes.c_uint64, source: ctypes.c_void_p, size: ctypes.c_size_t, stream: ctypes.c_void_p
    ) -> int:
        assert (target.value in self.blocks, stream.value) == (True, 77)
        ctypes.memmove(target.value, source, size.value)
        return 0

    def cuMemcpyDtoHAsync_v2(
        self, target: ctypes.c_void_p, source: ctypes.c_uint64, size: ctypes.c_size_t, stream: ctypes.c_void_p
    ) -> int:
        assert (source.value in self.blocks, stream.value) == (True, 77)
        ctypes.memmove(target, source.value, size.value)
        return 0

    def cuStreamSynchronize(self, stream: ctypes.c_void_p) -> int:
        return int(stream.value != 77)

    def cuGetErrorName(self, status: int, name: Any) -> int:
        names = {2: b"CUDA_ERROR_OUT_OF_MEMORY", 101: b"CUDA_ERROR_INVALID_DEVICE"}
        name._obj.value = names.get(status)
        return 0


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    fake = FakeDriver()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: fake)
    return fake


def test_there_and_back_again(driver: FakeDriver) -> None:
    device = CudaDevice(1)
    assert driver.current == 1001
    array = np.arange(30, dtype=np.int32).reshape(5, 6)
    address = device.allocate(array.nbytes)
    device.upload(array, address)
    copy = np.zeros_like(array)
    device.download(address, copy)
    device.synchronize()
    np.testing.assert_array_equal(copy, array)
    device.free(address)
    assert driver.blocks == {}


def test_another_thread_makes_it_its_own(driver: FakeDriver) -> None:
    device = CudaDevice(0)
    driver.current = None
    device.activate()
    assert driver.current == 1000


def test_no_memory(driver: FakeDriver) -> None:
    with pytest.raises(CudaMemoryError, match=r"^CUDA: cuMemAlloc_v2 failed with CUDA_ERROR_OUT_OF_MEMORY$"):
        CudaDevice(0).allocate(20_000)


def test_no_such_gpu(driver: FakeDriver) -> None:
    with pytest.raises(CudaError, match=r"^CUDA: cuDeviceGet failed with CUDA_ERROR_INVALID_DEVICE$"):
        CudaDevice(2)


def test_an_error_without_a_name(driver: FakeDriver) -> None:
    device = CudaDevice(0)
    driver.failing["cuStreamSynchronize"] = 999
    with pytest.raises(CudaError, match=r"^CUDA: cuStreamSynchronize failed with an unknown error$"):
        device.synchronize()


def test_a_part_of_an_array_is_not_copied_wrongly(driver: FakeDriver) -> None:
    device = CudaDevice(0)
    with pytest.raises(ValueError, match="C-contiguous"):
        device.upload(np.zeros((4, 4), np.float32)[:, ::2], device.allocate(64))


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "LIBRARY", "libcuda-that-is-not-there.so.1")
    with pytest.raises(CudaError, match=r"^there is no NVIDIA driver here"):
        CudaDevice()
