"""Models on disk: members of runs and Hugging Face directories, scored here or in the lm-evaluation-harness."""
