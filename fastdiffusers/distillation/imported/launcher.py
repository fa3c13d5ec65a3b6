"""What stands in front of the script: Python, Paddle's launcher, devices."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from fastdiffusers.errors import InputError

LAUNCHER = "paddle.distributed.launch"
WRAPPERS = ("nohup", "time", "exec", "env")
DEVICE_LISTS = ("--gpus", "--devices", "--xpus", "--npus")
WITH_VALUE = (
    *DEVICE_LISTS,
    *("--ips", "--nnodes", "--nproc_per_node", "--master", "--rank", "--host", "--start_port"),
    *("--log_dir", "--log_level", "--log_overwrite", "--enable_gpu_log", "--sort_ip", "--job_id", "--run_mode"),
    *("--max_restart", "--elastic_level", "--elastic_timeout", "--legacy"),
)


@dataclass(frozen=True)
class Launch:
    """A script and how it is started. ``devices`` counts the processes; None: the command does not tell."""

    script: str
    arguments: tuple[str, ...]
    launcher: tuple[str, ...]  # options of Paddle's launcher; empty and ``distributed`` false: one process
    distributed: bool
    devices: int | None


def read_launch(words: list[str], scripts: tuple[str, ...], environment: dict[str, str]) -> Launch | None:
    """The start of one of ``scripts``, or None when ``words`` start none of them.

    Raises `InputError` for a launcher, or an option of it, that is not understood.
    """
    place = next((i for i, item in enumerate(words) if PurePosixPath(item).name in scripts), None)
    if place is None:
        return None
    front = words[:place]
    while front and front[0] in WRAPPERS:
        front = front[1:]
    if front and PurePosixPath(front[0]).name.startswith("python"):
        front = front[1:]
        while front and front[0] in ("-u", "-O", "-OO", "-B", "-I", "-s"):
            front = front[1:]
    distributed = front[:2] == ["-m", LAUNCHER]
    if front and not distributed:
        raise InputError(f"the launcher {' '.join(front)!r} is not understood; valid: python, python -m {LAUNCHER}")
    options = _options(front[2:])
    return Launch(
        PurePosixPath(words[place]).name,
        tuple(words[place + 1 :]),
        tuple(front[2:]),
        distributed,
        _devices(options, environment) if distributed else 1,
    )


def _options(words: list[str]) -> dict[str, str]:
    found, rest = {}, iter(words)
    for item in rest:
        name, equals, value = item.partition("=")
        if name not in WITH_VALUE:
            raise InputError(f"unknown option {item!r} of {LAUNCHER}; valid: {', '.join(WITH_VALUE)}")
        if not equals and (value := next(rest, "")) == "":
            raise InputError(f"{name} of {LAUNCHER} has no value")
        found[name] = value
    return found


def _devices(options: dict[str, str], environment: dict[str, str]) -> int | None:
    """Processes in all: those of one machine times the machines."""
    if "--ips" in options:
        machines = _listed(options["--ips"])
    else:
        machines = _count("--nnodes", options.get("--nnodes", "1"))
    lists = [options[name] for name in DEVICE_LISTS if name in options]
    if "--nproc_per_node" in options:
        return machines * _count("--nproc_per_node", options["--nproc_per_node"])
    visible = lists[-1] if lists else environment.get("CUDA_VISIBLE_DEVICES", "")
    return machines * _listed(visible) if visible else None


def _listed(text: str) -> int:
    return len([item for item in text.split(",") if item.strip()])


def _count(name: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"{name} of {LAUNCHER} is {text!r}; valid is a whole number, at least 1")
    return int(text)
