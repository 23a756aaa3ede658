"""Corpus variants: the training corpus after an intervention.

| question | module |
|---|---|
| What is an intervention, and how is it written? | `interventions`, `selection` |
| Which sentences does it change? | `changes` |
| Which donor sentence replaces a removed one? | `donors` |
| How are words replaced, or sentences injected? | `edits`, `injections` |
| Which tokens does a row contain? | `rows`, `slot_contents`, `rendering` |
| Which variant is built from which rows, and what did it change? | `builder`, `variant`, `summary`, `slot_log` |
| How are rows read from disk? | `row_files` |
"""
