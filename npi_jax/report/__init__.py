"""Figures, the HTML report, the comparison of two runs, and tables for the terminal."""

from npi_jax.report.pages.comparison_page import write_comparison
from npi_jax.report.pages.run_page import write_report
from npi_jax.report.pages.terminal import print_report

__all__ = ["print_report", "write_comparison", "write_report"]
