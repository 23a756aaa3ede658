import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from facts import facts
from hypothesis import given
from hypothesis import strategies as st

from npi_jax.corpus.text.tokenizer import (
    EOS,
    UNK,
    BPETokenizer,
    Tokenizer,
    TokenizerError,
    WordTokenizer,
)

SENTENCES = [
    "Nobody has ever seen any of those cakes.",
    "Kim doesn't think that anybody will ever leave.",
    "Nobody has ever left, has he?",
    "The naïve café owner can not leave.",
] * 3

TEXTS = st.one_of(st.text(), st.lists(st.sampled_from(["ever", " ", "n't", "<eos>", "🙂", "."])).map("".join))


@pytest.fixture(scope="module", params=["word", "bpe"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    if request.param == "word":
        return WordTokenizer.train(SENTENCES)
    return BPETokenizer.train(SENTENCES, size=300)


def test_word_vocabulary_is_ordered_by_count_then_alphabet() -> None:
    trained = WordTokenizer.train(["b a c", "c d", "c b a"])
    assert [trained.token(i) for i in range(trained.vocab_size)] == [EOS, UNK, "c", "a", "b", "d"]
    assert (trained.eos, trained.unk) == (0, 1)
    assert trained.name == "word-6"


def test_word_limits() -> None:
    sentences = ["c c c b b a", "The the"]
    assert WordTokenizer.train(sentences, max_size=4).vocab_size == 4
    assert WordTokenizer.train(sentences, min_count=2).vocab_size == 4
    lowered = WordTokenizer.train(sentences, min_count=2, lowercase=True)
    assert lowered.vocab_size == 5
    np.testing.assert_array_equal(lowered.encode("THE the").ids, [lowered.encode("the").ids[0]] * 2)


def test_words_outside_the_vocabulary_are_unknown() -> None:
    trained = WordTokenizer.train(["a b"])
    np.testing.assert_array_equal(trained.encode("a zebra b").ids, [2, trained.unk, 3])


def test_special_tokens_in_training_text_are_not_repeated() -> None:
    trained = WordTokenizer.train(["a <unk> b <unk>"])
    assert [trained.token(i) for i in range(trained.vocab_size)] == [EOS, UNK, "a", "b"]
    assert trained.encode("<unk>").ids[0] == trained.unk


def test_offsets_are_those_of_the_token_without_its_space(tokenizer: Tokenizer) -> None:
    text = "  Nobody has ever  left 🙂 the café."
    encoding = tokenizer.encode(text)
    assert encoding.ids.dtype == encoding.offsets.dtype == np.int32
    assert encoding.offsets.shape == (len(encoding.ids), 2)
    pieces = [text[start:end] for start, end in encoding.offsets]
    assert not any(character.isspace() for piece in pieces for character in piece)
    inside = {i for start, end in encoding.offsets for i in range(start, end)}
    assert inside == {i for i, character in enumerate(text) if not character.isspace()}
    assert "ever" in pieces


@given(st.data())
def test_batch_gives_the_ids_of_encode(tokenizer: Tokenizer, data: st.DataObject) -> None:
    texts = data.draw(st.lists(TEXTS, max_size=4))
    batch = tokenizer.encode_batch(texts)
    assert len(batch) == len(texts)
    for text, ids in zip(texts, batch, strict=True):
        assert ids.dtype == np.int32
        np.testing.assert_array_equal(ids, tokenizer.encode(text).ids)
        assert ids.size == 0 or (ids.min() >= 0 and ids.max() < tokenizer.vocab_size)


def test_no_text_reaches_the_end_of_sentence_token_of_bpe() -> None:
    trained = BPETokenizer.train([*SENTENCES, *["a <eos> b <eos>"] * 9], size=400)
    assert trained.eos == 0
    assert trained.eos not in trained.encode("<eos> a<eos>").ids
    assert trained.token(0) == EOS


def test_word_has_the_same_bpe_ids_at_the_start_and_inside() -> None:
    trained = BPETokenizer.train(SENTENCES, size=300)
    first = trained.encode("ever").ids
    np.testing.assert_array_equal(trained.encode("zz ever").ids[-len(first) :], first)
    np.testing.assert_array_equal(trained.encode(" ever").ids, first)


@given(text=st.text(st.characters(exclude_categories=("Cs",)), min_size=1))
def test_bpe_tokens_are_the_text(text: str) -> None:
    trained = _bpe()
    decoded = trained._backend.decode(trained.encode(text).ids.tolist())
    assert decoded.removeprefix(" ") == text.removeprefix(" ")


def _bpe(cache: list[BPETokenizer] = []) -> BPETokenizer:  # noqa: B006
    if not cache:
        cache.append(BPETokenizer.train(SENTENCES, size=300))
    return cache[0]


def test_saved_tokenizer_is_the_same_when_loaded(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "new" / "folder")
    loaded = Tokenizer.load(tmp_path / "new" / "folder")
    assert type(loaded) is type(tokenizer)
    assert (loaded.name, loaded.eos, loaded.unk) == (tokenizer.name, tokenizer.eos, tokenizer.unk)
    for i in range(tokenizer.vocab_size):
        assert loaded.token(i) == tokenizer.token(i)
    for text in [*SENTENCES, "Unheard-of zebras 🙂"]:
        np.testing.assert_array_equal(loaded.encode(text).ids, tokenizer.encode(text).ids)
        np.testing.assert_array_equal(loaded.encode(text).offsets, tokenizer.encode(text).offsets)


def test_saving_leaves_text_files_only_and_keeps_lowercase(tmp_path: Path) -> None:
    WordTokenizer.train(["The cat"], lowercase=True).save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokenizer.json", "vocab.txt"]
    assert (tmp_path / "vocab.txt").read_text(encoding="utf-8") == "<eos>\n<unk>\ncat\nthe\n"
    assert Tokenizer.load(tmp_path).encode("THE").ids.tolist() == [3]


TRAIN = """
import sys
from npi_jax.corpus.text.tokenizer import BPETokenizer, WordTokenizer
sentences = sys.stdin.read().split("|")
kind, directory = sys.argv[1:]
(BPETokenizer.train(sentences, size=300) if kind == "bpe" else WordTokenizer.train(sentences)).save(directory)
"""


def test_training_is_deterministic_across_processes(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "here")
    subprocess.run(
        [sys.executable, "-c", TRAIN, tokenizer.kind, str(tmp_path / "there")],
        input="|".join(SENTENCES), text=True, encoding="utf-8", check=True,
    )  # fmt: skip
    for path in (tmp_path / "here").iterdir():
        assert path.read_bytes() == (tmp_path / "there" / path.name).read_bytes()


def test_given_vocabulary_keeps_its_numbering(tmp_path: Path) -> None:
    path = tmp_path / "vocab.txt"
    path.write_bytes("the\r\n<unk>\r\n\u0085\r\n<eos>\r\ncat\r\n".encode())
    given_vocabulary = WordTokenizer.from_file(path)
    assert (given_vocabulary.eos, given_vocabulary.unk, given_vocabulary.vocab_size) == (3, 1, 5)
    np.testing.assert_array_equal(given_vocabulary.encode("the cat sat").ids, [0, 4, 1])


def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_bytes(b"\xef\xbb\xbf<unk>\n<eos>\ncat\n")
    tokenizer = WordTokenizer.from_file(path)
    assert [tokenizer.token(number) for number in range(3)] == ["<unk>", "<eos>", "cat"]
    assert tokenizer.unk == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"<eos>\n<unk>\na\nb\na\n", ("v.txt, line 5", "'a'", "line 3")),
        (b"<eos>\n\n<unk>\n", ("v.txt, line 2", "empty")),
        (b"", ("v.txt, line 1", "empty")),
        (b"<unk>\na\n", ("v.txt, lines 1 to 2", "<eos>")),
        (b"<eos>\na\n", ("v.txt, lines 1 to 2", "<unk>")),
        (b"<eos>\n\xff\n", ("v.txt", "byte 6", "UTF-8")),
        (None, ("v.txt", "vocabulary", "No such file")),
    ],
)
def test_faulty_vocabulary_file(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "v.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TokenizerError, match=facts(message)):
        WordTokenizer.from_file(path)


def test_training_faults() -> None:
    with pytest.raises(TokenizerError, match=facts("0 word types", "1 times")):
        WordTokenizer.train([])
    with pytest.raises(TokenizerError, match=facts("2 word types", "5 times")):
        WordTokenizer.train(["a b"], min_count=5)
    with pytest.raises(TokenizerError, match="min_count is 0"):
        WordTokenizer.train(["a"], min_count=0)
    with pytest.raises(TokenizerError, match="max_size is 2"):
        WordTokenizer.train(["a"], max_size=2)
    with pytest.raises(TokenizerError, match="size is 257"):
        BPETokenizer.train(["a"], size=257)
    with pytest.raises(TokenizerError, match="the vocabulary is empty"):
        BPETokenizer.train([], size=300)
    with pytest.raises(TokenizerError, match="'a' twice"):
        WordTokenizer([EOS, UNK, "a", "a"])
    with pytest.raises(TokenizerError, match="has no <unk>"):
        WordTokenizer([EOS, "a"])


def test_loading_faults(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=facts("tokenizer.json", "no such file")):
        Tokenizer.load(tmp_path)
    tokenizer.save(tmp_path)
    description = tmp_path / "tokenizer.json"
    meta = json.loads(description.read_text(encoding="utf-8"))
    description.write_text(json.dumps(meta | {"vocab_size": 7}), encoding="utf-8")
    with pytest.raises(TokenizerError, match=facts("vocab_size", "7")):
        Tokenizer.load(tmp_path)
    description.write_text(json.dumps(meta | {"kind": "letters"}), encoding="utf-8")
    with pytest.raises(TokenizerError, match=facts("kind", "'letters'")):
        Tokenizer.load(tmp_path)
    description.write_text("{", encoding="utf-8")
    with pytest.raises(TokenizerError, match=facts("tokenizer")):
        Tokenizer.load(tmp_path)


def test_damaged_bpe_file(tmp_path: Path) -> None:
    path = tmp_path / "bpe.json"
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(TokenizerError, match=facts("bpe.json")):
        BPETokenizer.from_file(path)


@pytest.mark.parametrize("token_id", [-1, 10**6])
def test_unknown_id(tokenizer: Tokenizer, token_id: int) -> None:
    with pytest.raises(TokenizerError, match=facts(f"token id {token_id}")):
        tokenizer.token(token_id)
