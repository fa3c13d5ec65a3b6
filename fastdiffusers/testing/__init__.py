"""The contract kit for authors of accelerators; needs no pytest.

from fastdiffusers.testing import check_accelerator

def test_contract():
    check_accelerator("haste", options={"skip": 0.5})
"""

from fastdiffusers.testing.contract import ContractReport, ContractViolation, check_accelerator
from fastdiffusers.testing.tiny import tiny_flux
from fastdiffusers.testing.together import Trial, try_together

__all__ = ["ContractReport", "ContractViolation", "Trial", "check_accelerator", "tiny_flux", "try_together"]
