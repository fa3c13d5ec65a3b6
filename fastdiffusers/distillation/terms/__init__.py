"""The losses of distillation methods, each written once against a process; a method's recipe lists the ones it uses.

A term adds to the student's loss, and may have an opponent with parameters of its own (discriminator heads, a critic).
Where there are opponents, their turns and the student's alternate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastdiffusers.accelerator import load_target
from fastdiffusers.errors import InputError, one_of

if TYPE_CHECKING:
    from fastdiffusers.distillation.terms.term import Term

TERMS = {
    "consistency": "fastdiffusers.distillation.terms.consistency:Consistency",
    "adversarial": "fastdiffusers.distillation.terms.adversarial:Adversarial",
    "dmd": "fastdiffusers.distillation.terms.dmd:DistributionMatching",
    "reflow": "fastdiffusers.distillation.terms.reflow:Reflow",
    "kd": "fastdiffusers.distillation.terms.kd:Regression",
    "relational": "fastdiffusers.distillation.terms.relational:Relational",
}
REFERENCE = {
    "adversarial": "fastdiffusers.distillation.terms.reference:ReferenceAdversarial",
    "dmd": "fastdiffusers.distillation.terms.reference:ReferenceDistributionMatching",
    "reflow": "fastdiffusers.distillation.terms.reference:ReferenceReflow",
}
"""What takes their places with ``compat: reference``."""


def term_class(name: str, compat: str = "none") -> type[Term]:
    """A term by its name, or a stranger's as ``"module:Class"``; ``compat`` is the recipe's."""
    from fastdiffusers.distillation.terms.term import Term

    if name not in TERMS and ":" not in name:
        raise InputError(one_of("term", name, TERMS) + ", or module:Class")
    known = {**TERMS, **REFERENCE} if compat == "reference" else TERMS
    return load_target(known.get(name, name), Term, f"term {name!r}")
