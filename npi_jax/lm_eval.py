"""Entry point of ``python -m npi_jax.lm_eval``: the lm-evaluation-harness with the model type ``npi_jax``."""

from npi_jax.evaluation.lm_eval import NpiJaxLM, main

__all__ = ["NpiJaxLM", "main"]

if __name__ == "__main__":
    main()
