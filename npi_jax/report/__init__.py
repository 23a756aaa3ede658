"""Figures, the HTML report and the tables for the terminal: what people see of a run."""

from npi_jax.report.html import write_report
from npi_jax.report.terminal import print_report

__all__ = ["print_report", "write_report"]
