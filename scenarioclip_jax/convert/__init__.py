"""Weights in and out: from CLIP and the published implementation, to PyTorch, and between two models."""

from scenarioclip_jax.convert.command import main

__all__ = ["main"]
