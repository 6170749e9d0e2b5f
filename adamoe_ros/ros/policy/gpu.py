# SPDX-License-Identifier: Apache-2.0
"""Memory and temperature of the policy's device for diagnostics.

Temperature comes from NVML through ctypes: a call costs microseconds, and no package is needed beside
the driver. Where there is no NVML (Jetson, MIG without rights) the figure is left out.
"""

from __future__ import annotations

import ctypes
import resource
from functools import lru_cache
from typing import Any

from adamoe_ros.ros.diagnostics import Diagnostic, Level

HOT = 85.0  # degrees Celsius: data-centre and desktop cards slow down from about here
SCARCE = 0.03  # share of the memory left free
_CORE_SENSOR = 0  # NVML_TEMPERATURE_GPU


@lru_cache(maxsize=1)
def _nvml() -> Any:
    """The initialised library; None where there is none."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    return library if library.nvmlInit_v2() == 0 else None


def temperature(uuid: str) -> float | None:
    """Degrees Celsius of the GPU with this identity (``GPU-...``); None where it cannot be read."""
    library = _nvml()
    if library is None:
        return None
    handle, degrees = ctypes.c_void_p(), ctypes.c_uint()
    if library.nvmlDeviceGetHandleByUUID(uuid.encode(), ctypes.byref(handle)) != 0:
        return None
    code = library.nvmlDeviceGetTemperature(handle, _CORE_SENSOR, ctypes.byref(degrees))
    return float(degrees.value) if code == 0 else None


def host_memory() -> int:
    """Most resident bytes of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def device_diagnostic(device: str) -> Diagnostic:
    """What /diagnostics says of the device.

    Args:
        device: as the engine names it: ``cpu``, ``cuda:0 (...)``.
    """
    name = device.split(" ", 1)[0]
    if not name.startswith("cuda"):
        return Diagnostic(
            "device", Level.OK, device, {"peak host memory (MiB)": host_memory() / 2**20}
        )
    import torch

    free, total = torch.cuda.mem_get_info(name)
    degrees = temperature(f"GPU-{torch.cuda.get_device_properties(name).uuid}")
    return judge(device, free, total, torch.cuda.memory_reserved(name), degrees)


def judge(device: str, free: int, total: int, own: int, degrees: float | None) -> Diagnostic:
    """Level and words for figures of a GPU.

    Args:
        free, total, own: bytes; ``own`` is held by this process's tensors and caches.
        degrees: Celsius; None: unknown.
    """
    values: dict[str, object] = {
        "memory total (MiB)": total / 2**20,
        "memory free (MiB)": free / 2**20,
        "memory of this node (MiB)": own / 2**20,
    }
    if degrees is not None:
        values["temperature (C)"] = degrees
    if degrees is not None and degrees >= HOT:
        text = f"{device} is at {degrees:.0f} C and will slow down: look at fans and airflow"
        return Diagnostic("device", Level.WARN, text, values)
    if free < SCARCE * total:
        text = f"{device} has {free / 2**20:.0f} MiB left: end what else uses it"
        return Diagnostic("device", Level.WARN, text, values)
    return Diagnostic("device", Level.OK, device, values)
