"""Entry point of ``python -m npi_jax.cli``, the same as ``npi-jax``."""

import sys

from npi_jax.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
