"""The towers and the three-level model, Flax NNX modules."""
