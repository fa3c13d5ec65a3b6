"""Packages are fetched once, by npm, and accepted only with the recorded bytes."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from fastdiffusers.errors import InputError, MissingDependency
from fastdiffusers.zoo.emoji.sources import SOURCES, Source, read_json, tarball


def pack(path: Path, files: dict[str, object]) -> str:
    """Write a tarball as npm lays it out; return its SHA-256."""
    with tarfile.open(path, "w:gz") as archive:
        for name, value in files.items():
            data = json.dumps(value).encode()
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with one file, a fake npm that serves it and counts its calls, and an empty cache."""
    original = tmp_path / "original.tgz"
    sha256 = pack(original, {"a.json": [1, 2]})
    source = Source("@scope/name", "1.0.0", sha256, "noto", "MIT", "somebody")
    folder = tmp_path / "bin"
    folder.mkdir()
    npm = folder / "npm"
    npm.write_text(
        f'#!/bin/sh\necho "$@" >> "{tmp_path}/calls"\n'
        f'while [ "$1" != "--pack-destination" ]; do shift; done\ncp "{original}" "$2/{source.file_name}"\n'
    )
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.setenv("FASTDIFFUSERS_HOME", str(tmp_path / "home"))
    return source


def test_second_reading_is_offline(package, tmp_path):
    assert read_json(package, "a.json") == [1, 2]
    assert read_json(package, "a.json") == [1, 2]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) == 1
    assert "--ignore-scripts" in calls[0]
    assert calls[0].endswith("@scope/name@1.0.0")


def test_other_bytes_are_refused(package):
    changed = Source(**{**vars(package), "sha256": "0" * 64})
    with pytest.raises(InputError, match="has sha256") as error:
        tarball(changed)
    assert "\n" not in str(error.value)


def test_missing_member_and_missing_file(package, tmp_path):
    with pytest.raises(InputError, match=r"no readable 'b\.json'"):
        read_json(package, "b.json")
    with pytest.raises(InputError, match="no file"):
        tarball(Source(**{**vars(package), "file": tmp_path / "nowhere.tgz"}))


def test_npm_that_fails_is_one_line(package, tmp_path):
    (tmp_path / "bin" / "npm").write_text("#!/bin/sh\necho 'npm error network\nmore' >&2\nexit 1\n")
    with pytest.raises(InputError, match=r"failed: npm error network$"):
        tarball(package)


def test_without_npm(package, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(MissingDependency, match="npm is needed"):
        tarball(package)


def test_every_source_is_pinned_and_credited():
    assert [source.style for source in SOURCES] == ["noto", "fluent", "twemoji", None]
    for source in SOURCES:
        assert len(source.sha256) == 64
        assert source.licence in ("Apache-2.0", "MIT", "CC-BY-4.0")
        assert "copyright" in source.attribution
        assert "https://" in source.attribution
