"""``python -m fastdiffusers.evaluation.worker``: does one task a line of its input; see `crew`."""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from typing import Any

from fastdiffusers.errors import UserError


def main() -> int:
    """Reply to every line with one line of JSON, on what was standard output before Paddle could print to it."""
    replies = os.dup(1)
    os.dup2(2, 1)
    from fastdiffusers.environment import prepare

    prepare(1)
    for line in sys.stdin:
        try:
            os.write(replies, (json.dumps(_reply(json.loads(line))) + "\n").encode())
        except BrokenPipeError:  # whoever asked is gone; what was done is on disk
            return 1
    return 0


def _reply(task: dict[str, Any]) -> dict[str, Any]:
    module, _, name = task["function"].partition(":")
    try:
        return {"result": getattr(importlib.import_module(module), name)(**task["arguments"])}
    except UserError as error:
        return {"error": str(error)}
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    sys.exit(main())
