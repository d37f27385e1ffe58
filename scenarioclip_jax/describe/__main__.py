"""`python -m scenarioclip_jax.describe`, see `describe.command`."""

from scenarioclip_jax.describe.command import main

if __name__ == "__main__":
    main()
