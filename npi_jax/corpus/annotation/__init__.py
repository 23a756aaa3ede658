"""Annotation of text: the items of a phenomenon (such as NPIs) and the licensor of each.

| question | module |
|---|---|
| What licenses an item, by the table of a phenomenon? | `phenomenon`, `entries`, ``phenomena/*.toml`` |
| Which words are items? | `items` |
| Which words are licensors? | `licensors` |
| Which licensor licenses an item? | `licensing` (shallow parse: `clauses`), `parses` (dependency parses) |
| How are all sentences of a text annotated and stored? | `annotator`, `table`, `stored_text`, `beam` |
| How good are the annotations? | `audit` |
"""
