"""`python -m scenarioclip_jax.annotate`."""

import sys

from scenarioclip_jax.annotate.command import main

if __name__ == "__main__":
    sys.exit(main())
