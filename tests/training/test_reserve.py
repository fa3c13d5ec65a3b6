"""Where a training writes: made first, used by one training at a time, and with room for what workers share."""

import errno
import os

import paddle
import pytest
from tiny_task import TARGET, TinyConfig

from fastdiffusers.errors import InputError
from fastdiffusers.training import launch
from fastdiffusers.training.gang import Gang
from fastdiffusers.training.recipe import load_recipe
from fastdiffusers.training.reserve import reserved


def recipe(*words: str) -> TinyConfig:
    return load_recipe(TinyConfig, None, ["steps=2", "batch=4", *words])


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/training"])
def test_a_folder_that_cannot_be_written_is_found_before_anything_is_built(tmp_path, monkeypatch, place):
    (tmp_path / "file").write_text("mine")
    monkeypatch.setattr(launch, "build", lambda *_: pytest.fail("built"))
    with pytest.raises(InputError, match=r"^cannot write '.*': ") as caught:
        launch.train(TARGET, recipe(), tmp_path / place)
    assert "\n" not in str(caught.value) and (tmp_path / "file").read_text() == "mine"


def test_two_trainings_do_not_share_a_folder(tmp_path):
    with reserved(tmp_path), pytest.raises(InputError, match=r"^another training runs in '.*'; wait for its end or"):
        launch.train(TARGET, recipe(), tmp_path)
    assert launch.train(TARGET, recipe(), tmp_path)["training"]["steps"] == 2
    with reserved(tmp_path):
        pass  # a training that is over has let the folder go


def test_more_workers_than_examples_in_a_batch_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"^recipe key 'workers' is 5; valid is at most 4, the examples of a batch$"):
        launch.train(TARGET, recipe("workers=5"), tmp_path)


def full(*places):
    """`os.posix_fallocate` of a machine on which ``places`` have no room."""

    def allocate(number: int, start: int, size: int) -> None:
        if str(os.path.dirname(os.readlink(f"/proc/self/fd/{number}"))) in map(str, places):
            raise OSError(errno.ENOSPC, "No space left on device")
        os.truncate(number, size)

    return allocate


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="tells files apart by Linux's /proc")
def test_workers_share_the_output_folder_when_memory_has_no_room(tmp_path, monkeypatch):
    (tmp_path / "memory").mkdir()
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(launch, "SHARED_MEMORY", tmp_path / "memory")
    groups = launch.build(TARGET, {"workers": 2})[1]
    assert launch._lead(groups, 2, tmp_path / "out", lambda: True)[1].parent == tmp_path / "memory"
    monkeypatch.setattr(os, "posix_fallocate", full(tmp_path / "memory"))
    path = launch._lead(groups, 2, tmp_path / "out", lambda: True)[1]
    assert path.parent == tmp_path / "out" and path.stat().st_size > 0
    monkeypatch.setattr(os, "posix_fallocate", full(tmp_path / "memory", tmp_path / "out"))
    with pytest.raises(InputError, match=r"^cannot write what 2 workers share, .*No space left on device; make room"):
        launch._lead(groups, 2, tmp_path / "out", lambda: True)
    assert [item.name for item in (tmp_path / "out").iterdir()] == [path.name]
    assert len(list((tmp_path / "memory").iterdir())) == 1


def test_the_shared_file_has_its_room_from_the_start(tmp_path):
    Gang({"w": paddle.zeros([64, 1024])}, 0, 2, tmp_path / "shared")
    status = (tmp_path / "shared").stat()
    assert status.st_size > 3 * 4 * 64 * 1024 and status.st_blocks * 512 >= status.st_size
