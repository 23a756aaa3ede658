import numpy as np
from facts import sentence_with

from npi_jax.corpus.annotation.stored_text import Text
from npi_jax.corpus.repeats import shared_sentences, warn_of_shared


def text_of(sentences, chosen=None) -> Text:
    encoded = [sentence.encode() for sentence in sentences]
    return Text(np.frombuffer(b"".join(encoded), np.uint8), np.cumsum([len(one) for one in encoded]), chosen)


TRAINING = [f"The sentence with the number {n} is in the training text, naïvely." for n in range(500)]
# Equal length and equal ends, but different words.
OTHER = [sentence.replace("number", "figure") for sentence in TRAINING]


def test_sentences_are_shared_word_for_word(monkeypatch):
    monkeypatch.setattr("npi_jax.corpus.repeats._STRETCH", 64)
    validation = [*TRAINING[100:140], *OTHER[:60], *["Yes, he said."] * 50]
    training = text_of([*TRAINING, *["Yes, he said."] * 5])
    assert shared_sentences(training, text_of(validation)) == (40, 100)
    assert shared_sentences(text_of(TRAINING, np.arange(120)), text_of(validation)) == (20, 100)
    assert shared_sentences(training, text_of(validation, np.arange(0, 80, 2))) == (20, 40)
    assert shared_sentences(training, text_of(["Yes, he said."])) == (0, 0)


def test_much_of_it_is_warned_of():
    said: list[str] = []
    warn_of_shared(text_of(TRAINING), text_of([*TRAINING[:10], *OTHER[:90]]), said.append)
    assert not said, "a tenth may repeat"
    warn_of_shared(text_of(TRAINING), text_of([*TRAINING[:11], *OTHER[:89]]), said.append)
    assert sentence_with(said[0], "warning", "11 of 100 validation sentences", "40 bytes", "training text")
