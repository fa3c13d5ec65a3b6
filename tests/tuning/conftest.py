"""A bench collects garbage before each run, which hundreds of scripted runs need not wait for."""

import gc

import pytest


@pytest.fixture(autouse=True)
def no_garbage(monkeypatch):
    monkeypatch.setattr(gc, "collect", lambda generation=2: 0)
