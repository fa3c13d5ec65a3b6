"""Ranks: what a launcher says, waiting for each other, sharing a batch, dying, going on in another number."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from test_trainer import events, recipe, start, wait_for
from tiny_task import TARGET

from fastdiffusers.distillation.keys import DistillConfig
from fastdiffusers.errors import InputError
from fastdiffusers.training.gang import WorkerLost
from fastdiffusers.training.launch import train
from fastdiffusers.training.meeting import Meeting
from fastdiffusers.training.ranks import Place, check_ranks, launched, on_this_machine, placed
from fastdiffusers.training.sampler import EpochSampler

SAID = {
    "PADDLE_TRAINER_ID": "1",
    "PADDLE_TRAINERS_NUM": "3",
    "PADDLE_TRAINER_ENDPOINTS": "a:1,b:2,c:3",
    "PADDLE_CURRENT_ENDPOINT": "b:2",
}


def test_the_launchers_variables_are_understood_and_the_same_are_said():
    place = launched(SAID)
    assert place == Place(1, 3, ("a:1", "b:2", "c:3"))
    assert {name: value for name, value in place.variables().items() if "gpus" not in name} == SAID
    assert launched({}) is None and launched({**SAID, "PADDLE_TRAINERS_NUM": "1", "PADDLE_TRAINER_ID": "0"}) is None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"PADDLE_TRAINERS_NUM": "many"}, "PADDLE_TRAINERS_NUM is 'many'; valid is a whole number"),
        ({"PADDLE_TRAINER_ID": ""}, "PADDLE_TRAINER_ID is ''; valid is a whole number"),
        ({"PADDLE_TRAINER_ID": "3"}, "PADDLE_TRAINER_ID=3, PADDLE_TRAINERS_NUM=3, 3 addresses"),
        ({"PADDLE_TRAINER_ENDPOINTS": "a:1"}, "PADDLE_TRAINERS_NUM=3, 1 addresses"),
    ],
)
def test_variables_that_contradict_each_other_are_refused(changes, said):
    with pytest.raises(InputError) as refused:
        launched({**SAID, **changes})
    assert said in str(refused.value) and "\n" not in str(refused.value)


def test_a_place_is_said_for_a_while(monkeypatch):
    for name in SAID:
        monkeypatch.delenv(name, raising=False)
    with placed(Place(0, 2, ("a:1", "b:2"))):
        assert launched() == Place(0, 2, ("a:1", "b:2"))
    assert launched() is None and not set(SAID) & os.environ.keys()


def test_places_on_this_machine_have_ports_of_their_own():
    places = on_this_machine(3)
    assert [place.rank for place in places] == [0, 1, 2] and len(set(places[0].endpoints)) == 3


def test_more_ranks_than_examples_are_refused():
    with pytest.raises(InputError, match="5 processes cannot share a batch of 4; valid is at most 4"):
        check_ranks(5, recipe("batch=4"))
    grouped = DistillConfig(batch=12, examples=8, seeds_per_prompt=4)
    check_ranks(3, grouped)
    with pytest.raises(InputError, match="4 processes cannot share a batch of 12, of which 4 stay together; valid"):
        check_ranks(4, grouped)


def test_a_launcher_and_devices_do_not_go_together(tmp_path, monkeypatch):
    for name, value in SAID.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="a launcher has started 3 processes already; leave out --devices 2"):
        train(TARGET, recipe(), tmp_path, devices=2)


def met(size: int) -> list[Meeting]:
    endpoints = on_this_machine(size)[0].endpoints
    found: dict[int, Meeting] = {}
    threads = [
        threading.Thread(target=lambda rank=rank: found.update({rank: Meeting(rank, endpoints)}), daemon=True)
        for rank in range(size)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return [found[rank] for rank in range(size)]


def test_nobody_goes_on_before_all_have_come():
    meetings = met(3)
    came: list[int] = []

    def wait(rank: int) -> None:
        meetings[rank].wait()
        came.append(rank)

    threads = [threading.Thread(target=wait, args=(rank,), daemon=True) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    assert came == []
    wait(2)
    for thread in threads:
        thread.join(5)
    assert sorted(came) == [0, 1, 2]


def test_who_leaves_is_noticed_at_once():
    first, second, third = met(3)
    third.close()
    with pytest.raises(WorkerLost, match="process 2 of the training ended early"):
        threading.Thread(target=second._say).start()
        first.wait()
    first.close()
    with pytest.raises(WorkerLost, match="process 0 of the training ended early"):
        second.wait()


def test_strangers_at_the_door_are_sent_away():
    endpoints = on_this_machine(2)[0].endpoints
    found: list[Meeting] = []
    thread = threading.Thread(target=lambda: found.append(Meeting(1, endpoints)), daemon=True)
    thread.start()
    host, _, port = endpoints[1].rpartition(":")
    for _ in range(100):
        try:
            with socket.create_connection((host, int(port))) as stranger:
                stranger.sendall(b"GET / HTTP/1.0\r")
                assert stranger.recv(1) == b""
            break
        except OSError:
            time.sleep(0.05)
    Meeting(0, endpoints).close()
    thread.join(5)
    assert len(found) == 1


def test_others_that_are_gone_are_not_waited_for():
    with pytest.raises(WorkerLost, match="process 1 of the training does not answer at 127"):
        Meeting(0, on_this_machine(2)[0].endpoints, alive=lambda: False)


def weights(folder: Path) -> dict[str, np.ndarray]:
    return {name: np.array(value) for name, value in json.loads((folder / "weights.json").read_text()).items()}


@pytest.mark.slow
def test_two_ranks_equal_one_process_and_go_on_as_one(tmp_path):
    """Gradients, moments, average and place in the data: after half of the steps by two, one process goes on."""
    train(TARGET, recipe("chance=false", "schedule=constant"), tmp_path / "one")
    both = start(tmp_path / "two", "chance=false", "schedule=constant", "--devices", "2")
    assert both.wait(120) == 0, both.communicate()[0]
    half = start(tmp_path / "half", "chance=false", "schedule=constant", "--devices", "2", "steps=12")
    assert half.wait(120) == 0, half.communicate()[0]
    train(TARGET, recipe("chance=false", "schedule=constant", "workers=1"), tmp_path / "half")
    assert events(tmp_path / "half", "start")[-1]["step"] == 12
    assert events(tmp_path / "two", "start")[0]["workers"] == 2
    for name in ("two", "half"):
        found = weights(tmp_path / name)
        for key, value in weights(tmp_path / "one").items():
            np.testing.assert_allclose(found[key], value, atol=2e-5, err_msg=f"{name} {key}")


@pytest.mark.slow
def test_a_launchers_ranks_find_each_other_and_each_has_its_part_of_the_data(tmp_path):
    """The first one comes seconds after the other, and only it writes."""
    processes = []
    for place in reversed(on_this_machine(2)):
        processes.append(
            start(
                tmp_path / "out",
                "chance=false",
                "schedule=constant",
                f"rows={tmp_path / str(place.rank)}",
                **place.variables(),
            )
        )
        time.sleep(2)
    for process in processes:
        assert process.wait(120) == 0, process.communicate()[0]
    train(TARGET, recipe("chance=false", "schedule=constant"), tmp_path / "one")
    found = weights(tmp_path / "out")
    for key, value in weights(tmp_path / "one").items():
        np.testing.assert_allclose(found[key], value, atol=2e-5, err_msg=key)
    first, second = (json.loads((tmp_path / name).read_text()) for name in "01")
    sampler = EpochSampler(50, recipe().seed)
    assert len(first) == len(second) == 24
    for step, (own, other) in enumerate(zip(first, second, strict=True)):
        assert len(own) == 6 and [*own, *other] == sampler.rows(12 * step, 12).tolist()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the other rank through Linux's /proc")
def test_a_rank_that_dies_ends_the_training_in_words_and_leaves_a_checkpoint(tmp_path):
    process = start(tmp_path, "--devices", "2", "delay=0.05", "steps=4000", "log_every=1")
    wait_for(tmp_path / "checkpoints" / "step-00000006", process)
    other = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
    os.kill(other, signal.SIGKILL)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 2
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "ended early" in line and "the same command goes on from" in line and "step-000000" in line


@pytest.mark.slow
def test_the_other_ranks_do_not_outlive_the_first(tmp_path):
    process = start(tmp_path, "--devices", "2", "delay=0.05", "steps=4000", "log_every=1")
    wait_for(tmp_path / "log.jsonl", process)
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    other = int(found.stdout.split()[0])
    process.kill()
    process.wait()
    for _ in range(200):
        state = Path(f"/proc/{other}/stat")
        if not state.exists() or ") Z " in state.read_text():
            return
        time.sleep(0.05)
    raise AssertionError("the rank goes on alone")
