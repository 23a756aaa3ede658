"""Preparation of an experiment's data: check of the inputs, then text, suites and variants."""
