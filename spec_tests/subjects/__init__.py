"""Adapters that put real implementations under the contracts: one module per bundle."""
