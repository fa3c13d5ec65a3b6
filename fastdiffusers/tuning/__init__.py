"""Choosing an accelerator's setting for a target: ``tune(pipe, "seacache", Target("max_distance", 0.1), workload)``.

It measures settings found by bisection and returns every trial and the choice; `fastdiffusers.profiles` keeps it.
Importing this does not import Paddle.
"""

from fastdiffusers.tuning.subject import Subject, subject_of
from fastdiffusers.tuning.target import Target, read_seconds
from fastdiffusers.tuning.trial import Trial
from fastdiffusers.tuning.tune import Tuning, tune

__all__ = ["Subject", "Target", "Trial", "Tuning", "read_seconds", "subject_of", "tune"]
