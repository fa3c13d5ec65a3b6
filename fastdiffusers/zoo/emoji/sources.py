"""The four pinned packages that the data is made of: fetched by `npm pack`, checked, read without unpacking."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastdiffusers.errors import InputError, MissingDependency
from fastdiffusers.files import atomic_write, cache_dir, sha256_file


@dataclass(frozen=True)
class Source:
    """One package: what it is, which bytes are accepted, and under which terms its content may be used.

    ``style`` is the name of the drawing style, or None for the package with the captions. ``file`` is a tarball already
    at hand; without it the tarball is fetched once into the cache.
    """

    package: str
    version: str
    sha256: str
    style: str | None
    licence: str
    attribution: str
    file: Path | None = None

    @property
    def spec(self) -> str:
        """What `npm pack` is given, e.g. ``@iconify-json/noto@1.2.9``."""
        return f"{self.package}@{self.version}"

    @property
    def file_name(self) -> str:
        """How npm names the tarball."""
        return f"{self.package.lstrip('@').replace('/', '-')}-{self.version}.tgz"


SOURCES: tuple[Source, ...] = (
    Source(
        "@iconify-json/noto",
        "1.2.9",
        "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
        "noto",
        "Apache-2.0",
        "Noto Emoji, copyright Google Inc., Apache License 2.0, https://github.com/googlefonts/noto-emoji",
    ),
    Source(
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
        "fluent",
        "MIT",
        "Fluent Emoji, copyright Microsoft Corporation, MIT License, https://github.com/microsoft/fluentui-emoji",
    ),
    Source(
        "@iconify-json/twemoji",
        "1.2.5",
        "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
        "twemoji",
        "CC-BY-4.0",
        "Twemoji, copyright Twitter, Inc and other contributors, graphics licensed under CC-BY 4.0 "
        "(https://creativecommons.org/licenses/by/4.0/), https://github.com/jdecked/twemoji; rendered and resized",
    ),
    Source(
        "emojibase-data",
        "17.0.0",
        "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
        None,
        "MIT",
        "Emojibase data, copyright Miles Johnson, MIT License, https://github.com/milesj/emojibase; "
        "labels and keywords from Unicode CLDR, Unicode License v3",
    ),
)


def tarball(source: Source) -> Path:
    """The verified tarball of `source`: from ``source.file``, else from the cache, else fetched into the cache.

    Nothing of the package is executed. Raises `MissingDependency` without npm and `InputError` if the bytes differ.
    """
    path = source.file or cache_dir() / "sources" / source.file_name
    if source.file is None and not path.is_file():
        _fetch(source, path)
    if not path.is_file():
        raise InputError(f"no file {str(path)!r} for {source.spec}; give the tarball that `npm pack` writes")
    found = sha256_file(path)
    if found != source.sha256:
        raise InputError(f"{str(path)!r} has sha256 {found}, {source.spec} has {source.sha256}; delete the file")
    return path


def _fetch(source: Source, path: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise MissingDependency(f"npm is needed to fetch {source.spec}; install it, e.g. `apt-get install npm`")
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", "--ignore-scripts", "--silent", "--pack-destination", folder, source.spec]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=folder, check=False)
        except subprocess.TimeoutExpired as error:
            raise InputError(f"`npm pack {source.spec}` gave no answer in 600 s; check the connection") from error
        packed = Path(folder) / source.file_name
        if done.returncode != 0 or not packed.is_file():
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise InputError(f"`npm pack {source.spec}` failed: {lines[0] if lines else 'no message'}")
        with atomic_write(path) as temporary:
            shutil.copyfile(packed, temporary)


def read_json(source: Source, member: str) -> Any:
    """The JSON file ``package/<member>`` of a source's tarball. Raises `InputError` if it is not there."""
    path = tarball(source)
    try:
        with tarfile.open(path, "r:gz") as archive:
            stream = archive.extractfile(f"package/{member}")
            if stream is None:
                raise KeyError(member)
            return json.load(stream)
    except (KeyError, tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise InputError(f"{str(path)!r} holds no readable {member!r} ({type(error).__name__})") from error
