"""`python -m scenarioclip_jax.evaluation.compare`."""

from scenarioclip_jax.evaluation.compare.command import main

if __name__ == "__main__":
    main()
