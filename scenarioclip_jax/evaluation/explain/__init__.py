"""What a score comes from."""
