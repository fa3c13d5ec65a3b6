"""Parallel ranks take one decision: two processes with half of the tokens each decide as one process with all."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# half of the batch on each rank; alone, one would skip and the other compute
PROGRAM = '''
import json, sys
import numpy as np


def drive(parts, ranks=None):
    """Patterns of several caches over steps at which the batch rows move at different speeds."""
    import paddle
    from types import SimpleNamespace
    from counting_stack import TEXT, TOKENS, WIDTH, model_of, plain
    from fastdiffusers.caching.design import Design
    from fastdiffusers.caching.estimators import Taylor
    from fastdiffusers.caching.indicators import FirstBlocks, ProbeChange
    from fastdiffusers.caching.loop import CacheLoop, Log
    from fastdiffusers.caching.scopes import Between, Blocks, Stack
    from fastdiffusers.context import StepContext
    from fastdiffusers.pipelines.flux_stack import FLUX_STACK
    from fastdiffusers.recorder import Recorder
    from fastdiffusers_caching.ranking import SortBlock

    speeds = np.array([[1.0, 1.05, 1.1, 1.12, 1.2, 1.3, 1.31, 1.4], [1.0, 1.6, 2.5, 2.6, 4.0, 4.1, 6.0, 9.0]])
    found = []
    for design in (
        Design(Stack(), lambda: ProbeChange(0.3)),
        Design(Between(1), lambda: FirstBlocks(0.3)),
        Design(Blocks(), lambda: SortBlock(3, 0.1), lambda: Taylor(order=1)),
    ):
        context, model = StepContext(), model_of(2, 3)
        context.ranks = ranks
        loop = CacheLoop(plain, FLUX_STACK, Recorder(SimpleNamespace(), context), design, Log())
        context.begin(np.linspace(1, 0, 8, endpoint=False))
        blocks = [*model.transformer_blocks, *model.single_transformer_blocks]
        for step in range(8):
            context.at(step)
            temb = paddle.to_tensor(np.repeat(speeds[parts, step][:, None], WIDTH, 1).astype("float32"))
            batch = len(parts)
            loop(model, paddle.ones([batch, TOKENS, WIDTH]), paddle.ones([batch, TEXT, WIDTH]), temb, None)
        context.end()
        found.append([len(block.calls) for block in blocks] + loop.log.steps)
    return found


def rank():
    import paddle.distributed as dist

    dist.init_parallel_env()
    mine = [dist.get_rank()]
    together, alone = drive(mine, dist.get_group()), drive(mine)
    with open(f"{sys.argv[1]}/{mine[0]}.json", "w") as file:
        json.dump([together, alone], file)


if __name__ == "__main__":
    from fastdiffusers.environment import prepare

    prepare(1)
    import paddle.distributed as dist

    with open(f"{sys.argv[1]}/one.json", "w") as file:
        json.dump(drive([0, 1]), file)
    dist.spawn(rank, nprocs=2, backend="gloo")
'''


@pytest.mark.slow
def test_two_ranks_with_half_of_the_batch_decide_as_one_process(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    path = [str(Path(__file__).parent), *(entry or os.getcwd() for entry in sys.path)]
    done = subprocess.run(
        [sys.executable, str(tmp_path / "program.py"), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one, first, second = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("one", 0, 1))
    assert first[0] == second[0]
    # the ranking is of blocks that are all alike here, so one process may break ties otherwise than two
    assert first[0][:2] == one[:2]
    # by themselves they would part, at a probe and at first blocks
    assert first[1][0] != second[1][0] and first[1][1] != second[1][1]
    assert any(not computed for _, computed in one[0][5:]) and any(computed for _, computed in one[0][6:])
