"""The command line ``fastdiff``: `app` mounts one module per command, imported when that command is used."""
