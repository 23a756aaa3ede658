"""Figures, the HTML report and the tables for the terminal: what people see of a run."""
