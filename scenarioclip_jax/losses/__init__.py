"""The losses: pure functions on arrays."""
