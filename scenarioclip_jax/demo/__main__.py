"""`python -m scenarioclip_jax.demo`, see `demo.command`."""

from scenarioclip_jax.demo.command import main

if __name__ == "__main__":
    main()
