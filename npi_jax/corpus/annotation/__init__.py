"""Annotation of text: the items of a phenomenon (such as NPIs) and the licensor of each.

| subject | module |
|---|---|
| tables of items and their licensors | `phenomenon`, `entries`, ``phenomena/*.toml`` |
| search for items in a sentence | `items` |
| search for licensors in a sentence | `licensors` |
| choice of the licensor of each item | `licensing` (shallow parse: `clauses`), `parses` (dependency parses) |
| annotation and storage of all sentences of a text | `annotator`, `table`, `stored_text`, `beam` |
| accuracy of the annotations | `audit` |
"""
