"""Explains where a score comes from."""
