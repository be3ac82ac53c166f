"""The judge: contracts, claims, mutants, and the harness that turns them into verdicts.

An adapter file needs two names::

    from spec_tests import subject, Unsupported
"""

from spec_tests.registry import Unsupported, claim, control, mutant, subject

__all__ = ["Unsupported", "claim", "control", "mutant", "subject"]
