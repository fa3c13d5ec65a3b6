"""Which English names take an article: ``a cat``, ``an owl``, but ``grapes``, ``fire``, ``santa claus``."""

from __future__ import annotations

import re

_UNCOUNTED = frozenset(
    word
    for line in (
        "bacon bread broccoli corn garlic money milk wine coffee beer tea honey cheese chocolate popcorn sushi soap",
        "rice ice butter salt curry yarn thread spaghetti snow fog foggy rain mate sake oden wood fire dna lightning",
        "poo voltage earth tennis bowling badminton lacrosse hockey wink love fuji explosion locked unlocked cooking",
        "dice cherries grapes lips eyes",
    )
    for word in line.split()
)
_NAMES = ("two ", "no ", "santa ", "mount ")
_SINGULAR_IN_S = ("ss", "us", "iris", "christmas")
_AFTER_HEAD = re.compile(r" (?:with|without|of|in|on|and|behind|over|showing|tilted|up|down)\b")
_A_BEFORE_VOWEL = ("uni", "uk", "ufo", "eu", "one-")


def with_article(name: str) -> str:
    """The name as one says it of a single thing: ``red apple`` → ``a red apple``, ``cherries`` stays."""
    head = _AFTER_HEAD.split(name, maxsplit=1)[0].split()[-1]
    plural = head.endswith("s") and not head.endswith(_SINGULAR_IN_S)
    if plural or head in _UNCOUNTED or name.startswith(_NAMES):
        return name
    return f"{'an' if name[0] in 'aeiou' and not name.startswith(_A_BEFORE_VOWEL) else 'a'} {name}"
