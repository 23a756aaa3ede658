import itertools
import json

import numpy as np
import pytest
from corpora import build_corpus
from facts import facts
from tiny import tiny_values

from npi_jax.config.build import make_config
from npi_jax.corpus.text.tokenizer import WordTokenizer
from npi_jax.preparation.prepare import prepare, unigram_perplexity
from npi_jax.scoring import ScoreSpec

FEW = {"grammar": {"limit": 1}}


def prepared(say=lambda line: None, **changes):
    return prepare(make_config(tiny_values(**changes)), say)


def test_the_grammar_becomes_rows_and_pairs():
    lines: list[str] = []
    ready = prepared(lines.append)
    assert ready.table["variant"].to_list() == ["full", "no_npi"]
    assert ready.facts["sentences"] == 1500
    assert ready.table["tokens"].n_unique() == 1
    assert len(ready.suites["grammar"].suite) == 3 * 17
    assert ready.suites["grammar"].unknown_items == 0
    assert any(line.startswith("corpus: 1,500 sentences") for line in lines)


def test_pairs_do_not_occur_in_the_training_text():
    ready = prepared()
    tokens, offsets = ready.corpus.tokens.astype(int), ready.corpus.offsets
    seen = {tuple(tokens[a : b - 1]) for a, b in itertools.pairwise(offsets)}
    pairs = [tuple(ids.tolist()) for ids in ready.suites["grammar"].sentences(ScoreSpec()).ids]
    assert not seen & set(pairs)


def test_preparing_again_gives_the_same():
    first, second = prepared(), prepared()
    assert first.facts == second.facts
    np.testing.assert_array_equal(first.pool.tokens, second.pool.tokens)


@pytest.fixture
def texts(tmp_path):
    sentences = [f"nobody has ever seen the number {n} here." for n in range(40)]
    sentences += [f"the number {n} was not seen here." for n in range(60)]
    (tmp_path / "train.txt").write_text("\n".join(sentences))
    (tmp_path / "valid.txt").write_text("the number 7 was seen.\nnobody was here.\n")
    (tmp_path / "train.jsonl").write_text("\n".join(json.dumps({"t": s}) for s in sentences))
    (tmp_path / "valid.jsonl").write_text(json.dumps({"t": "the number 7 was seen."}))
    pairs = {
        "good": "nobody has ever been",
        "bad": "somebody has ever been",
        "critical_good": "ever",
        "critical_bad": "ever",
    }
    (tmp_path / "pairs.jsonl").write_text(json.dumps(pairs) + "\n")
    return tmp_path


def from_files(texts, suffix, **changes):
    corpus = {
        "source": "jsonl" if suffix == "jsonl" else "text",
        "paths": (str(texts / f"train.{suffix}"),),
        "valid_paths": (str(texts / f"valid.{suffix}"),),
        "unit": "sentence",
        "field": "t",
    }
    return prepared(corpus=corpus, train__batch_size=4, **changes)


@pytest.mark.parametrize("suffix", ["txt", "jsonl"])
def test_own_text_and_pairs(texts, suffix):
    suites = {"mine": {"loader": "table", "path": str(texts / "pairs.jsonl")}}
    lines: list[str] = []
    ready = from_files(texts, suffix, score__suites=suites, say=lines.append)
    noted = lines.index("suite mine: 1 minimal pairs")
    assert lines[noted + 1] == "  1 of 1 items: words outside the vocabulary"
    assert ready.facts["sentences"] == 100
    assert ready.table["slots_changed"].to_list() == [0, 40]
    assert ready.suites["mine"].unknown_items == 1
    encoded = ready.suites["mine"].sentences(ScoreSpec())
    start, end = encoded.regions["critical"][0]
    assert [ready.tokenizer.token(int(token)) for token in encoded.ids[0][start:end]] == ["ever"]


def test_a_sample_is_drawn_once_for_all(texts):
    corpus = {
        "source": "text",
        "paths": (str(texts / "train.txt"),),
        "valid_paths": (str(texts / "valid.txt"),),
        "unit": "sentence",
        "max_sentences": 50,
    }
    first, second = (
        prepared(corpus=corpus, train__batch_size=4, score__suites=FEW, variants=("full",)) for _ in range(2)
    )
    assert first.facts["sentences"] == 50
    assert first.facts["corpus_sha256"] == second.facts["corpus_sha256"]


def test_a_corpus_smaller_than_a_batch_is_refused(texts):
    with pytest.raises(ValueError, match=facts("batch of 64")):
        from_files(texts, "txt", train={"batch_size": 64, "row_length": 32}, score__suites=FEW)


def test_a_suite_without_files_is_refused(texts):
    with pytest.raises(ValueError, match=facts("score.suites.blimp.path", "empty")):
        from_files(texts, "txt", score__suites={"blimp": {}})


def test_unigram_perplexity():
    tokenizer = WordTokenizer.train(["a a b"])
    corpus = build_corpus(["a a b"], [()], tokenizer, row_length=8)
    size = tokenizer.vocab_size
    counts = np.bincount(corpus.tokens, minlength=size) + 1
    expected = np.exp(-np.mean([np.log(counts[t] / counts.sum()) for t in corpus.tokens]))
    assert unigram_perplexity(corpus, corpus, size) == pytest.approx(expected)
