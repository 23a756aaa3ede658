"""The corpus: sources of text, the built-in grammar, annotation, interventions, tokenizers and rows of tokens."""
