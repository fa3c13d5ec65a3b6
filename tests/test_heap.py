"""Freed memory stays with the process, unless the user has tuned the C library."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fastdiffusers.heap import keep_freed_memory

ROOT = Path(__file__).resolve().parents[1]
CODE = """
import numpy, resource
from fastdiffusers.heap import keep_freed_memory
kept = keep_freed_memory()
def work():
    for _ in range(20):
        numpy.ones(4 << 20, numpy.uint8), numpy.ones(3 << 20, numpy.uint8)
        large = numpy.ones(30 << 20, numpy.uint8)
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(**variables):
    clean = {name: value for name, value in os.environ.items() if "MALLOC" not in name and "GLIBC" not in name}
    environ = {**clean, "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run([sys.executable, "-c", CODE], env=environ, capture_output=True, text=True, timeout=60)
    kept, faults = done.stdout.split()
    return kept == "True", int(faults)


@pytest.mark.skipif(
    "glibc" not in str(os.confstr_names and os.confstr("CS_GNU_LIBC_VERSION")), reason="another C library"
)
def test_pages_are_fetched_once():
    kept, faults = run()
    assert kept and faults < 2000
    kept, plain = run(FASTDIFFUSERS_HEAP="0")
    assert not kept and plain > 20 * max(faults, 50)


@pytest.mark.parametrize(
    "environ",
    [
        {"FASTDIFFUSERS_HEAP": "0"},
        {"MALLOC_TRIM_THRESHOLD_": "1000"},
        {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=1000"},
    ],
)
def test_what_the_user_has_set_is_left_alone(environ):
    assert keep_freed_memory(environ) is False
