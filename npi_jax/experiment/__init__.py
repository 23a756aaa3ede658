"""Stages of `npi-jax run`, and the run directory in which they work."""
