"""`python -m scenarioclip_jax.data.build`."""

import sys

from scenarioclip_jax.data.build.command import main

if __name__ == "__main__":
    sys.exit(main())
