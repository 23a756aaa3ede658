"""The stages of `npi-jax run`, in a claimed run directory."""
