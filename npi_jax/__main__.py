"""Entry point of ``python -m npi_jax``, for systems without the command ``npi-jax`` on the path."""

import sys

from npi_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
