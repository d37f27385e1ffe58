"""`python -m scenarioclip_jax.importers`."""

import sys

from scenarioclip_jax.importers.command import main

if __name__ == "__main__":
    sys.exit(main())
