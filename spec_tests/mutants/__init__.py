"""Known-wrong implementations, one classic mistake each, tied to the claims that must reject it."""
