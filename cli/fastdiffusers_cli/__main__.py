"""``python -m fastdiffusers_cli`` is ``fastdiff``."""

from fastdiffusers_cli.app import main

main()
