"""The code that a reading worker runs at every step, from shards to batches."""
