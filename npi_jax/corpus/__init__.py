"""Text in, slots out: sources, grammar, annotation, interventions, tokenizers, rows."""
