"""Makes annotations from photos: caption, detect, segment, join, and check, by models of your choice.

    python -m scenarioclip_jax.annotate run --images DIR --output WORK

ends in records of docs/guides/format.md, which `data.build` reads. It uses no JAX.
"""
