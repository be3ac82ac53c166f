"""The claims: one property test each, one module per family."""
