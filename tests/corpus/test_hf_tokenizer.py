import dataclasses
import json
import os

import hf_directories
import numpy as np
import pytest
import tokenizers
from calls import at_most
from facts import facts
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import minimal_pair
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from npi_jax.corpus.text.hf_tokenizer import hf_tokenizer_files, load_hf_tokenizer
from npi_jax.corpus.text.tokenizer import BPETokenizer, TokenizerError, WordTokenizer
from npi_jax.scoring import ScoreSpec, pack
from npi_jax.suites import Suite

TEXTS = ["Nobody has ever seen it.", "Did the café's naïve owner ever, at all, sing?", " two  spaces", "日本語 ok"]
BPE = BPETokenizer.train(TEXTS * 3, size=300)


def write_gpt2(path, **config):
    """Write vocab.json and merges.txt, as in the directories of GPT-2 and OPT."""
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["</s>", "<unk>"]
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    backend.train_from_iterator(TEXTS * 3, trainer)
    backend.model.save(str(path))
    (path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "</s>", "eos_token": "</s>", **config}))


def write_llama(path):
    """A vocabulary with ▁ for spaces and a template that begins with <s>."""
    backend = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=special, show_progress=False)
    backend.train_from_iterator(TEXTS * 3, trainer)
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse()])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    backend.save(str(path / "tokenizer.json"))
    special_map = {"bos_token": {"content": "<s>"}, "eos_token": "</s>"}
    (path / "special_tokens_map.json").write_text(json.dumps(special_map))


def test_vocab_and_merges_are_read(tmp_path):
    write_gpt2(tmp_path)
    tokenizer = load_hf_tokenizer(tmp_path)
    assert (tokenizer.start, tokenizer.end, tokenizer.prefix) == (0, 0, ())
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert tokenizer.token(0) == "</s>"
    with pytest.raises(TokenizerError, match="no token with id 9999"):
        tokenizer.token(9999)


def test_a_template_gives_the_prefix(tmp_path):
    write_llama(tmp_path)
    tokenizer = load_hf_tokenizer(tmp_path)
    assert (tokenizer.start, tokenizer.end, tokenizer.prefix, tokenizer.suffix) == (1, 2, (1,), ())
    assert 1 not in tokenizer.encode(TEXTS[0]).ids
    # As in transformers 5, the template of tokenizer.json overrides the settings in the other file.
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"add_bos_token": False, "tokenizer_class": "LlamaTokenizerFast"})
    )
    assert load_hf_tokenizer(tmp_path).prefix == (1,)


def test_a_template_gives_the_suffix(tmp_path):
    write_llama(tmp_path)
    backend = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s> </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_hf_tokenizer(tmp_path)
    assert (tokenizer.prefix, tokenizer.suffix) == ((1,), (2, 2))


def test_a_default_of_config_json_is_no_token(tmp_path):
    for name, content in hf_tokenizer_files(BPE).items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "config.json").write_text(json.dumps({"bos_token_id": 1}))
    (tmp_path / "special_tokens_map.json").unlink()
    for special in ({"eos_token": "<eos>"}, {"eos_token": "<eos>", "bos_token": None}):
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(special))
        assert load_hf_tokenizer(tmp_path).start == BPE.eos


def test_gpt2s_space_is_as_the_settings_say(tmp_path):
    for name, content in hf_tokenizer_files(BPE).items():
        (tmp_path / name).write_bytes(content)
    lengths = {}
    for space in (True, False):
        settings = {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": space, "eos_token": "<eos>"}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        lengths[space] = [load_hf_tokenizer(tmp_path).encode(text).ids.tolist() for text in ("zx", " zx")]
    assert lengths[True][0] == lengths[True][1]
    assert lengths[False][0] != lengths[False][1]


def test_offsets_are_those_of_the_words(tmp_path):
    write_gpt2(tmp_path)
    tokenizer = load_hf_tokenizer(tmp_path)
    for text in TEXTS[:2]:
        encoding = tokenizer.encode(text)
        covered = {i for start, end in encoding.offsets for i in range(start, end)}
        assert covered == {i for i, character in enumerate(text) if not character.isspace()}


@settings(deadline=None)
@given(st.lists(st.text(max_size=20), max_size=5))
def test_many_texts_are_encoded_like_each_alone(texts):
    for tokenizer in (BPE, WordTokenizer.train(TEXTS)):
        for text, many in zip(texts, tokenizer.encode_many(texts), strict=True):
            alone = tokenizer.encode(text)
            np.testing.assert_array_equal(many.ids, alone.ids)
            np.testing.assert_array_equal(many.offsets, alone.offsets)


def test_what_cannot_be_read_is_named(tmp_path):
    assert load_hf_tokenizer(tmp_path) is None
    (tmp_path / "tokenizer.model").write_bytes(b"x")
    with pytest.raises(TokenizerError, match=facts("tokenizer.model", "SentencePiece", "tokenizer.json")):
        load_hf_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(TokenizerError, match=facts("tokenizer.json", "tokenizers")):
        load_hf_tokenizer(tmp_path)
    write_llama(tmp_path)
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"bos_token": "<bos>"}))
    with pytest.raises(TokenizerError, match=facts("bos_token", "'<bos>'", "vocabulary")):
        load_hf_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[]")
    with pytest.raises(TokenizerError, match=facts("tokenizer_config.json", "list", "object")):
        load_hf_tokenizer(tmp_path)


def test_words_cannot_be_written_for_transformers():
    with pytest.raises(TokenizerError, match=facts("tokenizer.kind", "'bpe'")):
        hf_tokenizer_files(WordTokenizer.train(TEXTS))


def ids(tokenizer):
    """Results of transformers, as `hf_directories` recorded them."""
    whole = [*tokenizer.prefix, *tokenizer.encode("it").ids.tolist(), *tokenizer.suffix]
    encoded = [tokenizer.encode(text).ids.tolist() for text in hf_directories.TEXTS]
    return {"ids": encoded, "whole": whole, "ends": [tokenizer._start, tokenizer.end]}


@pytest.mark.parametrize("case", hf_directories.CASES)
def test_ids_are_those_that_the_newest_transformers_gave(tmp_path, case):
    golden = json.loads(hf_directories.GOLDEN.read_text())
    assert golden["transformers"] == "5.24.0"
    hf_directories.write(tmp_path, hf_directories.CASES[case])
    assert ids(load_hf_tokenizer(tmp_path)) == golden["results"][golden["cases"][case]]


@pytest.mark.parametrize("kind", ["LlamaTokenizer", "GPT2Tokenizer", "PreTrainedTokenizerFast", "T5Tokenizer"])
def test_what_is_not_used_of_a_tokenizers_file_is_noted(tmp_path, kind):
    form = "metaspace" if kind == "LlamaTokenizer" else "digits"
    special = {"bos_token": None, "eos_token": None, "unk_token": None}
    case = hf_directories.Case("llama", form, {**special, "tokenizer_class": kind})
    hf_directories.write(tmp_path, case)
    expected = {
        "GPT2Tokenizer": "Digits not used, as in transformers 5, whose GPT2Tokenizer builds its own",
        "T5Tokenizer": "read as it is; transformers may change it for its class 'T5Tokenizer'",
    }
    notes = load_hf_tokenizer(tmp_path).notes
    assert notes == ((f"{tmp_path / 'tokenizer.json'}: {expected[kind]}",) if kind in expected else ())


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json"])
@pytest.mark.parametrize("kind", ["pipe", "device", "huge", "not UTF-8", "list", "deep"])
def test_files_that_are_none_are_refused_at_once(tmp_path, name, kind):
    write_llama(tmp_path)
    path, huge = tmp_path / name, 10 << 40
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "huge":
        with path.open("wb") as file:
            file.truncate(huge)
    else:
        path.write_bytes({"not UTF-8": b"\xff{}", "list": b"[]", "deep": b"[" * 200_000}[kind])
    reason = {"pipe": ("plain file",), "device": ("plain file",), "huge": (f"{huge:,}", "at most")}
    with at_most(30), pytest.raises(TokenizerError, match=facts(name, reason.get(kind, ()))):
        load_hf_tokenizer(tmp_path)


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_a_vocabulary_that_never_ends_is_refused_at_once(tmp_path, name):
    write_gpt2(tmp_path)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    with at_most(30), pytest.raises(TokenizerError, match=facts(name, "plain file")):
        load_hf_tokenizer(tmp_path)


def test_a_word_outside_a_vocabulary_without_unknown_words_is_said_in_a_line(tmp_path):
    backend = tokenizers.Tokenizer(models.WordLevel({"日本": 0, "<s>": 1}, unk_token="<unk>"))
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    backend.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(TokenizerError, match=facts("tokenizer.json", "encode")):
        load_hf_tokenizer(tmp_path)
    backend.model = models.WordLevel({"a": 0, "<s>": 1}, unk_token="<unk>")
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_hf_tokenizer(tmp_path)
    assert tokenizer.prefix == (1,)
    for encode in (
        tokenizer.encode,
        lambda text: tokenizer.encode_many([text]),
        lambda text: tokenizer.encode_batch([text]),
    ):
        with pytest.raises(TokenizerError, match=facts("encode", "WordLevel error")):
            encode("b")


def test_both_ends_of_a_template_are_known_without_latin_letters(tmp_path):
    backend = tokenizers.Tokenizer(models.BPE({"語": 0, "<s>": 1, "</s>": 2}, []))
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_hf_tokenizer(tmp_path)
    assert (tokenizer.prefix, tokenizer.suffix) == ((1,), (2,))


def test_an_exported_tokenizer_takes_its_end_in_a_text_for_the_end_as_transformers_does(tmp_path):
    for name, content in hf_tokenizer_files(BPE).items():
        (tmp_path / name).write_bytes(content)
    assert BPE.eos in load_hf_tokenizer(tmp_path).encode("an <eos> here").ids
    assert BPE.eos not in BPE.encode("an <eos> here").ids


def test_merges_without_the_prefix_of_continuations_do_not_reach_the_library(tmp_path, capfd):
    write_llama(tmp_path)
    state = json.loads((tmp_path / "tokenizer.json").read_text())
    state["model"]["continuing_subword_prefix"] = "a long prefix"
    (tmp_path / "tokenizer.json").write_text(json.dumps(state))
    with pytest.raises(TokenizerError, match=facts("continuing_subword_prefix", "'a long prefix'", "merges")):
        load_hf_tokenizer(tmp_path)
    # A panic of the library would print a backtrace.
    assert capfd.readouterr().err == ""


@pytest.mark.filterwarnings("ignore")
def test_ids_of_our_own_are_those_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    for name, content in hf_tokenizer_files(BPE).items():
        (tmp_path / name).write_bytes(content)
    theirs, ours = transformers.AutoTokenizer.from_pretrained(tmp_path), load_hf_tokenizer(tmp_path)
    for text in [*TEXTS, "<unk> and </s> in a text", "an <eos> here"]:
        assert ours.encode(text).ids.tolist() == theirs(text, add_special_tokens=False)["input_ids"]
        assert [*ours.prefix, *ours.encode(text).ids] == theirs(text)["input_ids"]
        assert "<eos>" in text or ours.encode(text).ids.tolist() == BPE.encode(text).ids.tolist()
    assert (theirs.bos_token_id, theirs.eos_token_id) == (BPE.eos, BPE.eos)


@pytest.mark.filterwarnings("ignore")
def test_ids_are_those_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers", minversion="5.20")
    for number, (name, case) in enumerate(hf_directories.CASES.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        hf_directories.write(folder, case)
        theirs = transformers.AutoTokenizer.from_pretrained(folder)
        assert ids(load_hf_tokenizer(folder)) == hf_directories.results(theirs), name


def test_unknown_words_of_unigram_vocabularies_are_known_as_such(tmp_path):
    backend = tokenizers.Tokenizer(
        models.Unigram([("<s>", 0.0), ("<unk>", 0.0), ("a", -1.0), ("\u2581", -2.0)], unk_id=1)
    )
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_hf_tokenizer(tmp_path)
    assert tokenizer.unk == 1
    item = minimal_pair("a z", "a a", (2, 3), (2, 3))
    encoded = Suite("s", [item, dataclasses.replace(item, item="j", good="a a")]).encode(tokenizer)
    assert (encoded.unknown_items, encoded.unknown_critical) == (1, 1)


def test_what_a_template_puts_after_a_text_is_the_suffix(tmp_path):
    backend = tokenizers.Tokenizer(models.WordLevel({"[CLS]": 0, "[SEP]": 1, "a": 2, "?": 3}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("[CLS]", 0), ("[SEP]", 1)]
    backend.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP] [SEP]", special_tokens=ends)
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_hf_tokenizer(tmp_path)
    assert (tokenizer.prefix, tokenizer.suffix) == ((0,), (1, 1))
    item = minimal_pair("a a", "a", (0, 1), (0, 1))
    sentences = Suite("s", [item]).encode(tokenizer).sentences(ScoreSpec.preset("minicons"))
    # minicons scores every id of the tokenizer except the first.
    packed = pack(sentences, ScoreSpec.preset("minicons"))
    assert packed.counts("sentence").tolist() == [len(backend.encode(text).ids) - 1 for text in ("a a", "a")]
