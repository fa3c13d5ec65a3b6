"""``python -m fastdiffusers.training.worker JOB``: one of the processes that `fastdiffusers.training.launch` starts."""

from __future__ import annotations

import json
import sys


def main() -> int:
    """Run the job given as JSON in the first argument."""
    from fastdiffusers.environment import prepare

    prepare()
    from fastdiffusers.errors import UserError
    from fastdiffusers.training.launch import Job, work
    from fastdiffusers.training.trainer import Interrupted

    try:
        work(Job(**json.loads(sys.argv[1])))
    except (Interrupted, UserError):
        return 2  # the first worker meets the same and says it
    return 0


if __name__ == "__main__":
    sys.exit(main())
