"""Preparation of an experiment's data: inputs are checked, then text, suites and variants are made."""
