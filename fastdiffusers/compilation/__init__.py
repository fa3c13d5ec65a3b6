"""Compiled networks: an engine runs stretches of a transformer's blocks inside any cache, and whole networks.

What is here knows no engine: what asks for stretches and networks, the programs by shape, their check against eager,
the watch over the weights, and the store of programs on disk.
"""
