"""Work of the longer commands, imported only when a command runs; `npi_jax.cli` defines their flags."""
