"""``python -m fastdiffusers_cli.sharer TASK``: one of the processes that `fastdiffusers_cli.sharing` starts."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from fastdiffusers_cli.asking import job_from_options
from fastdiffusers_cli.drawing import draw
from fastdiffusers_cli.failure import exit_code
from fastdiffusers_cli.job import Picture
from fastdiffusers_cli.sharing import PATHS


def share(file: Path) -> None:
    """Draw the pictures of the task in ``file`` and write what is to be told of them."""
    task = json.loads(file.read_text(encoding="utf-8"))
    given = {name: Path(value) if name in PATHS else value for name, value in task["given"].items()}
    pictures = tuple(Picture(prompt, seed, Path(path)) for prompt, seed, path in task["pictures"])
    job = job_from_options({**given, "prompt": pictures[0].prompt, "out": pictures[0].path})
    drawing = draw(replace(job, pictures=pictures), show_progress=False)
    answers = [
        {
            "stages": one.stages,
            "records": [record.to_dict() for record in one.records],
            "truncated": one.truncated,
            "notes": list(one.notes),
        }
        for one in drawing.drawn
    ]
    Path(task["answer"]).write_text(json.dumps(answers), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(exit_code(lambda: share(Path(sys.argv[1]))))
