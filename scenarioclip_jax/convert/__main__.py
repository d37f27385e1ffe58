"""`python -m scenarioclip_jax.convert`, see `convert.command`."""

from scenarioclip_jax.convert.command import main

if __name__ == "__main__":
    main()
