"""Splits English text into words and punctuation marks."""

import re

# For speed, the second alternative matches most tokens: words without a hyphen, apostrophe or punctuation mark after
# them. The slower alternatives below it are tried for the other tokens only.
_TOKEN = re.compile(
    r"""
      [Cc](?:an(?=not)|AN(?=NOT))(?=[nN][oO][tT](?:[nN]['’][tT])?(?!\w))   # can|not
    | \w++(?![-'’.,:/])                                # a plain word
    | \w+(?:-\w+)*?(?=[nN]['’][tT](?!\w))                  # do|n't
    | [nN]['’][tT](?!\w)
    | ['’](?:[sSmMdD]|ll|LL|re|RE|ve|VE)(?!\w)         # I|'ll
    | (?:Mr|Mrs|Ms|Messrs|Dr|St|Prof|Rev|Hon|Gen|Col|Capt|Lt|Sgt|Gov|Sen|Rep|Jr|Sr|vs|etc|cf|Mme|Mlle)\.
    | (?:[A-Za-z]\.){2,32}(?!\w)                       # U.S., e.g., p.m.; the upper bound limits the search
    | \d++(?:[.,:/]\d+)+\w*(?:-\w+)*                   # 3.5, 1,000, 10:30, 1/2, 2.5-inch
    | \w++(?:-\w++|['’](?!(?:[sSmMdD]|ll|LL|re|RE|ve|VE)(?!\w))\w++)*   # well-known, o'clock
    | <unk>|@[-,.]@                                    # as in published corpora
    | \.{2,}|-{2,}|''|``
    | [^\w\s]
    """,
    re.VERBOSE,
)


def split_words(text: str) -> list[str]:
    """Split English text into words and punctuation marks, in their original case.

    Contractions are split as in the Penn Treebank ("do n't", "can not", "I 'll", "Kim 's"). Hyphenated words, numbers
    ("3.5", "10:30"), words with underscores and common abbreviations ("Mr.", "U.S.") stay in one piece. Words that are
    joined by spaces are split into the same words again. The text should be in Unicode normalization form C.
    """
    return _TOKEN.findall(text)


def split_spans(text: str) -> list[tuple[str, int, int]]:
    """Split text as `split_words` does; return each word with its characters ``[start, end)`` in the text."""
    return [(match.group(), *match.span()) for match in _TOKEN.finditer(text)]
