"""What the NVIDIA driver says, asked through ctypes: to be known before any library that dies without a driver."""

from __future__ import annotations

import ctypes
import os
from typing import NamedTuple

LIBRARY = "libcuda.so.1"
NAME_BYTES = 256


class Gpu(NamedTuple):
    """The GPU that this process would use: name, compute capability, and the CUDA version of the driver."""

    name: str
    capability: str
    driver: str


def first_gpu() -> Gpu:
    """Return the first GPU that this process may see.

    Raises
    ------
    RuntimeError
        There is no driver, it does not start, or it shows no GPU; the message says which.
    """
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise RuntimeError(f"there is no NVIDIA driver: {error}") from error
    _ask(driver, "cuInit", 0)
    if _number(driver, "cuDeviceGetCount") == 0:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        hidden = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
        raise RuntimeError(f"the NVIDIA driver shows no GPU{hidden}")
    device = _number(driver, "cuDeviceGet", 0)
    name = ctypes.create_string_buffer(NAME_BYTES)
    _ask(driver, "cuDeviceGetName", name, NAME_BYTES, device)
    # 75 and 76 are CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR.
    major, minor = (_number(driver, "cuDeviceGetAttribute", which, device) for which in (75, 76))
    version = _number(driver, "cuDriverGetVersion")
    return Gpu(name.value.decode(), f"{major}.{minor}", f"{version // 1000}.{version % 1000 // 10}")


def _number(driver: ctypes.CDLL, function: str, *arguments: int) -> int:
    """Call a function that writes an integer to its first argument, and return it."""
    value = ctypes.c_int()
    _ask(driver, function, ctypes.byref(value), *arguments)
    return value.value


def _ask(driver: ctypes.CDLL, function: str, *arguments: object) -> None:
    if status := getattr(driver, function)(*arguments):
        text = ctypes.c_char_p()
        driver.cuGetErrorString(status, ctypes.byref(text))
        said = (text.value or b"no text").decode()
        raise RuntimeError(f"the NVIDIA driver does not work: {function} gives {status}, {said}")
