"""Peak memory of one run, measured honestly or not at all.

On a GPU: Paddle's own count of allocated bytes, reset before the run. On a CPU: the largest resident size of the whole
process (weights included), whose high-water mark Linux resets on request. A mark that cannot be reset would only ever
grow, so every later arm would inherit the largest one before it: then nothing is reported.
"""

from __future__ import annotations

from pathlib import Path

MIB = 2**20
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_PROBE_BYTES = 64 * MIB


class PeakMemory:
    """Not measured: the base of the ways to measure, and what is used where none works.

    Attributes:
        method: in words, for the report.
    """

    method = "not measured: this system has no resettable high-water mark"

    def reset(self) -> None:
        """Start a new measurement."""

    def peak_mb(self) -> float | None:
        """Peak since `reset` in MiB, None when it was not measured."""
        return None


class ResidentPeak(PeakMemory):
    """Linux: VmHWM of /proc/self/status, reset by writing 5 to /proc/self/clear_refs (proc(5))."""

    method = "largest resident size of the process during the run, weights included (VmHWM, reset before each run)"

    def reset(self) -> None:
        """Set the high-water mark to the present resident size."""
        _CLEAR_REFS.write_text("5")

    def peak_mb(self) -> float:
        """The high-water mark in MiB."""
        return _status("VmHWM") / MIB


class DevicePeak(PeakMemory):
    """A CUDA device: bytes that Paddle had allocated to tensors at most."""

    method = "largest allocation of Paddle on the device during the run (max_memory_allocated, reset before each run)"

    def reset(self) -> None:
        """Forget the peak of earlier runs."""
        import paddle

        paddle.device.cuda.reset_max_memory_allocated()

    def peak_mb(self) -> float:
        """The peak in MiB."""
        import paddle

        return float(paddle.device.cuda.max_memory_allocated() / MIB)


def peak_memory(on_gpu: bool) -> PeakMemory:
    """The way to measure that works here; tried, not assumed."""
    if on_gpu:
        return DevicePeak()
    return ResidentPeak() if _mark_can_be_reset() else PeakMemory()


def _mark_can_be_reset() -> bool:
    """Whether a block that was allocated and freed again disappears from the high-water mark."""
    try:
        _CLEAR_REFS.write_text("5")
        block = bytearray(_PROBE_BYTES)
        block[::4096] = b"\x01" * len(block[::4096])  # touch every page, so that it becomes resident
        del block
        before = _status("VmHWM")
        _CLEAR_REFS.write_text("5")
        return before - _status("VmHWM") > _PROBE_BYTES // 2
    except (OSError, ValueError):
        return False


def _status(key: str) -> int:
    """A size in /proc/self/status, in bytes."""
    for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) * 1024
    raise ValueError(f"no {key} in {_STATUS}")
