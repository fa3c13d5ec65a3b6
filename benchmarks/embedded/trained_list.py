"""Writes fastdiffusers/zoo/emoji/trained.txt, from which captions are drawn where there is no data folder.

python benchmarks/embedded/trained_list.py [DATA_FOLDER]        # from the repository root
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from fastdiffusers.files import atomic_write
from fastdiffusers.zoo.emoji import default_folder
from fastdiffusers.zoo.emoji.trained import TRAINED, trained_lines


def main(folder: Path) -> None:
    lines = (folder / "index.jsonl").read_text(encoding="utf-8").splitlines()
    with atomic_write(TRAINED) as temporary:
        temporary.write_text(trained_lines(json.loads(line) for line in lines), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else default_folder())
