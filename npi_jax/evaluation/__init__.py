"""Scoring of models on disk (members of runs, Hugging Face directories), also by the lm-evaluation-harness."""
