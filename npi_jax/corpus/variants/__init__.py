"""Corpus variants: the training corpus after an intervention.

| subject | module |
|---|---|
| interventions and their text form | `interventions`, `selection` |
| sentences that an intervention changes | `changes` |
| donor sentences that replace removed ones | `donors` |
| replacement of words, injection of sentences | `edits`, `injections` |
| tokens of a row | `rows`, `slot_contents`, `rendering` |
| construction of variants, and reports of their changes | `builder`, `variant`, `summary`, `slot_log` |
| rows on disk | `row_files` |
"""
