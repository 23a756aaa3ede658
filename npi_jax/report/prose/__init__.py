"""Sentences and tables that state results."""
