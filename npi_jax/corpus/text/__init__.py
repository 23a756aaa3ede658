"""Text files, words and tokenizers."""
