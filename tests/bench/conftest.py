"""Scripted benches time nothing real: collecting garbage before each of their runs would only take seconds."""

import gc

import pytest


@pytest.fixture(autouse=True)
def _no_collection(monkeypatch):
    monkeypatch.setattr(gc, "collect", lambda *generation: 0)
