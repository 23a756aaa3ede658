"""``python -m npi_jax``, for where the command ``npi-jax`` is not on the path."""

import sys

from npi_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
