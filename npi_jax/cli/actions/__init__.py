"""Work of the longer commands, loaded when they are called; their flags are in the modules of `npi_jax.cli`."""
