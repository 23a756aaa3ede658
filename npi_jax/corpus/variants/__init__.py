"""Corpus variants: interventions, donor sentences, rows."""
