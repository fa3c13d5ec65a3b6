"""What each accelerator buys on this machine, and what it costs in picture quality.

``compare(pipe, ["teacache:threshold=0.4"], Workload(...))`` measures and returns the report that ``fastdiff bench``
prints. Importing this does not import Paddle.
"""

from fastdiffusers.bench.arms import Arm, LeftOut, installed_arms, order_arms, parse_arm, plan_arm
from fastdiffusers.bench.compare import compare
from fastdiffusers.bench.suite import Suite, read_suite
from fastdiffusers.bench.workload import Workload

__all__ = [
    "Arm",
    "LeftOut",
    "Suite",
    "Workload",
    "compare",
    "installed_arms",
    "order_arms",
    "parse_arm",
    "plan_arm",
    "read_suite",
]
