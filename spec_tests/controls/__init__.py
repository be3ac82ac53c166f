"""Right but unusual implementations that every claim must accept."""
