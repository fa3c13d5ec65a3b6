"""Worker processes: results come back, failures and deaths are said in one line, nobody stays behind."""

import pytest

from fastdiffusers.errors import InputError
from fastdiffusers.evaluation import Crew, Task, WorkFailed


def test_results_come_back_and_workers_stay_for_the_next_tasks():
    found, pids = {}, []
    with Crew(1) as crew:
        for texts in (("a", "b"), ("c",)):
            crew.run(
                [Task("json:dumps", {"obj": text}) for text in texts],
                lambda task, result: found.update({task.arguments["obj"]: result}),
            )
            pids.append(crew._workers[0].pid)
        worker = crew._workers[0]
        assert found == {"a": '"a"', "b": '"b"', "c": '"c"'}
        assert pids[0] == pids[1] and worker.poll() is None
    assert worker.poll() == 0  # it ended by itself


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Task("json:loads", {"s": "no json"}), "loads: JSONDecodeError"),
        (Task("os:_exit", {"status": 3}), r"_exit: a worker process died \(exit code 3\)"),
        (Task("fastdiffusers.noise:check_seed", {"seed": -1}), "check_seed: seed -1 is out of range"),
        (Task("no_such_module:f"), "f: ModuleNotFoundError"),
    ],
)
def test_a_failure_is_one_line_and_ends_the_crew(task, message, capfd):
    with Crew(1) as crew:
        with pytest.raises(WorkFailed, match=message) as caught:
            crew.run([task])
        assert crew._workers == [] and "\n" not in str(caught.value)


def test_no_tasks_start_nobody():
    with Crew(2) as crew:
        crew.run([])
        assert crew._workers == []


def test_a_crew_has_workers():
    with pytest.raises(InputError, match="workers is 0"):
        Crew(0)
