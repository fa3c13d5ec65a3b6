"""The project's one trainer: a loop that knows optimisers, workers, checkpoints and logs, and no method.

`task` says what can be trained, `recipe` how it is configured, `launch.train` runs it. Imports no Paddle by itself.
"""
