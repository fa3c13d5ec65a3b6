"""The contract kit for authors of accelerators; needs no pytest.

from fastdiffusers.testing import check_accelerator

def test_contract():
    check_accelerator("haste", options={"skip": 0.5})
"""

from fastdiffusers.testing.contract import ContractReport, ContractViolation, check_accelerator
from fastdiffusers.testing.tiny import tiny_flux

__all__ = ["ContractReport", "ContractViolation", "check_accelerator", "tiny_flux"]
