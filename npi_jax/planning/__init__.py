"""Planning: the devices, memory, time and disk that an experiment takes, before any device is paid for."""

from npi_jax.planning.fit import fit_plan
from npi_jax.planning.plan import Plan, make_plan
from npi_jax.planning.show import print_plan

__all__ = ["Plan", "fit_plan", "make_plan", "print_plan"]
