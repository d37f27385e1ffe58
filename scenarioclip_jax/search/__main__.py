"""`python -m scenarioclip_jax.search`, see `search.command`."""

from scenarioclip_jax.search.command import main

if __name__ == "__main__":
    main()
