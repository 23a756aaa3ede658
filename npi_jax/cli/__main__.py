"""``python -m npi_jax.cli``."""

import sys

from npi_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
