"""English text split into words and punctuation signs."""

import re

# The second alternative takes most tokens: a word that no joining sign follows. What comes after it sees only
# signs and words with a sign behind them, so its cost hardly counts.
_TOKEN = re.compile(
    r"""
      [Cc](?:an(?=not)|AN(?=NOT))(?=[nN][oO][tT](?:[nN]['’][tT])?(?!\w))   # can|not
    | \w++(?![-'’.,:/])                                # a plain word
    | \w+(?:-\w+)*?(?=[nN]['’][tT](?!\w))                  # do|n't
    | [nN]['’][tT](?!\w)
    | ['’](?:[sSmMdD]|ll|LL|re|RE|ve|VE)(?!\w)         # I|'ll
    | (?:Mr|Mrs|Ms|Messrs|Dr|St|Prof|Rev|Hon|Gen|Col|Capt|Lt|Sgt|Gov|Sen|Rep|Jr|Sr|vs|etc|cf|Mme|Mlle)\.
    | (?:[A-Za-z]\.){2,32}(?!\w)                       # U.S., e.g., p.m.; without an end the search would be long
    | \d++(?:[.,:/]\d+)+\w*(?:-\w+)*                   # 3.5, 1,000, 10:30, 1/2, 2.5-inch
    | \w++(?:-\w++|['’](?!(?:[sSmMdD]|ll|LL|re|RE|ve|VE)(?!\w))\w++)*   # well-known, o'clock
    | <unk>|@[-,.]@                                    # what published corpora hold
    | \.{2,}|-{2,}|''|``
    | [^\w\s]
    """,
    re.VERBOSE,
)


def split_words(text: str) -> list[str]:
    """Split English text into words and punctuation signs, case kept.

    Contractions are split as in the Penn Treebank ("do n't", "can not", "I 'll", "Kim 's"); hyphenated words,
    numbers ("3.5", "10:30"), words with underscores and common abbreviations ("Mr.", "U.S.") stay whole.
    Splitting the words joined by spaces gives the same words again. Written for precomposed (NFC) text.
    """
    return _TOKEN.findall(text)


def split_spans(text: str) -> list[tuple[str, int, int]]:
    """As `split_words`, each word with its characters ``[start, end)`` in the text."""
    return [(match.group(), *match.span()) for match in _TOKEN.finditer(text)]
