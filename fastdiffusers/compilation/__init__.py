"""Compiled blocks: an engine runs stretches of a transformer's blocks as one program each, inside any cache.

What is here knows no engine: the block loop that asks for stretches, the programs by shape, their check against the
eager blocks, the watch over the weights, and the store of programs on disk.
"""
