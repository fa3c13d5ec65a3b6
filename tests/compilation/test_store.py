"""Programs on disk: found again by their key, never damaged, never too many."""

import json
import os
from pathlib import Path

import pytest

from fastdiffusers.compilation.store import LIMIT, MANIFEST, Store
from fastdiffusers.errors import InputError


def made(folder: Path, size: int = 1000) -> Path:
    folder.mkdir(parents=True)
    (folder / "program.json").write_text("{}")
    (folder / "program.pdiparams").write_bytes(os.urandom(size))
    return folder


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "kept", 10_000)


def test_what_is_kept_is_found_by_its_key_alone(store, tmp_path):
    place, trouble = store.keep({"a": 1}, made(tmp_path / "made"))
    assert place.parent == store.folder and not trouble
    assert store.find({"a": 1}) == (place, "")
    assert store.find({"a": 2}) == (None, "")
    assert (place / "program.pdiparams").read_bytes() == (tmp_path / "made" / "program.pdiparams").read_bytes()
    assert [entry.size > 1000 and entry.key for entry in store.entries()] == [{"a": 1}]


@pytest.mark.parametrize("damage", ["bits", "short", "gone", "manifest", "key"])
def test_a_damaged_program_is_thrown_away_and_said_so(damage, store, tmp_path):
    place, _ = store.keep({"a": 1}, made(tmp_path / "made"))
    file, manifest = place / "program.pdiparams", place / MANIFEST
    if damage == "bits":
        file.write_bytes(b"\0" * file.stat().st_size)
    elif damage == "short":
        file.write_bytes(b"")
    elif damage == "gone":
        file.unlink()
    elif damage == "manifest":
        manifest.write_text("{")
    else:
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "key": {"a": 3}}))
    found, trouble = store.find({"a": 1})
    assert found is None and "damaged" in trouble and "\n" not in trouble
    assert not place.exists()


def test_the_one_used_longest_ago_makes_room(store, tmp_path):
    places = []
    for number in range(3):
        place, _ = store.keep({"a": number}, made(tmp_path / str(number), 3000))
        os.utime(place / MANIFEST, (number, number))
        places.append(place)
    store.find({"a": 0})  # used now
    store.keep({"a": 3}, made(tmp_path / "3", 3000))
    assert [place.is_dir() for place in places] == [True, False, True]


def test_what_is_larger_than_the_limit_is_used_but_not_kept(store, tmp_path):
    folder = made(tmp_path / "made", 20_000)
    place, trouble = store.keep({"a": 1}, folder)
    assert place == folder and "more than the limit" in trouble and not store.entries()


def test_a_folder_that_cannot_be_written_is_no_failure(tmp_path):
    (tmp_path / "kept").write_text("a file is in the way")
    folder = made(tmp_path / "made")
    place, trouble = Store(tmp_path / "kept", 10_000).keep({"a": 1}, folder)
    assert place == folder and trouble.startswith("not kept: cannot write")


def test_clear_takes_leftovers_too(store, tmp_path):
    store.keep({"a": 1}, made(tmp_path / "made"))
    (store.folder / ".half.1234.tmp").mkdir()
    number, size = store.clear()
    assert number == 1 and size > 1000 and not list(store.folder.iterdir())
    assert Store(tmp_path / "nothing").clear() == (0, 0)


def test_a_limit_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv(LIMIT, "lots")
    with pytest.raises(InputError, match="FASTDIFFUSERS_COMPILED_MB='lots' is not valid"):
        Store()
