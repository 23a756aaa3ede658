import numpy as np
import pytest
from facts import facts

from npi_jax.scoring import ScoreSpec, SpecMismatchError, pair_accuracy


def test_ties_count_as_the_spec_says_and_absent_deltas_are_nan():
    delta = np.array([0.1, -0.1, 0.0, np.nan, np.inf])
    np.testing.assert_array_equal(pair_accuracy(delta), [1.0, 0.0, 0.5, np.nan, np.nan])
    np.testing.assert_array_equal(pair_accuracy(delta, "good"), [1.0, 0.0, 1.0, np.nan, np.nan])
    np.testing.assert_array_equal(pair_accuracy(delta, "bad"), [1.0, 0.0, 0.0, np.nan, np.nan])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "exact"}, ("ScoreSpec.precision='exact'", "default, high")),
        ({"beginning": "bos"}, ("ScoreSpec.beginning='bos'", "token, none, tokenizer, special")),
        ({"ties": "lost"}, ("ScoreSpec.ties='lost'", "half, good, bad")),
        ({"normalization": "mean"}, ("ScoreSpec.normalization='mean'", "auto, sum, matched, token")),
        ({"regions": ()}, "regions"),
        ({"regions": ("a", "a")}, ("region", "twice")),
    ],
)
def test_unknown_conventions_are_refused(changes, message):
    with pytest.raises(ValueError, match=facts(message)):
        ScoreSpec(**changes)


def test_presets_carry_their_names_and_digests():
    spec = ScoreSpec.preset("lm_eval_v04")
    assert spec.label.startswith("lm_eval_v04:")
    assert spec.digest == ScoreSpec.from_dict({**spec.to_dict(), "name": "mine"}).digest
    assert spec.digest != ScoreSpec.preset("lm_eval_v04", ties="half").digest
    assert ScoreSpec.preset("lm_eval_v04", ties="half").name == "lm_eval_v04*"
    # Two tools may have the same conventions.
    assert ScoreSpec.preset("blimp_paper").digest == ScoreSpec.preset("lm_eval_v03").digest
    with pytest.raises(ValueError, match=facts("preset 'blimp'", "did you mean blimp_paper?")):
        ScoreSpec.preset("blimp")


def test_different_conventions_are_not_compared():
    ScoreSpec(name="a").require_same(ScoreSpec(name="b"))
    with pytest.raises(SpecMismatchError, match=facts("leading_space: False", "True", "ties: 'bad'", "'good'")):
        ScoreSpec.preset("lm_eval_v03").require_same(ScoreSpec.preset("lm_eval_v04"))


def test_a_spec_shows_differences_from_the_default_and_known_labels_are_read():
    ends = ScoreSpec(score_end=False, regions=("critical",))
    assert ScoreSpec().described == ScoreSpec().label
    assert ends.described == f"{ends.label} (score_end=False, regions=critical)"
    assert ScoreSpec(name="b").differences(ends, "in the run", "in the export") == [
        "score_end: True in the run, False in the export",
        "regions: ['critical', 'sentence'] in the run, ['critical'] in the export",
    ]
    assert ScoreSpec.of_label(ScoreSpec(score_end=False).label) == ScoreSpec(score_end=False)
    assert ScoreSpec.of_label(f"mine:{ScoreSpec.preset('minicons').digest}").name == "minicons"
    assert ScoreSpec.of_label(ends.label) is None


def test_conventions_keep_the_digests_that_stored_tables_have():
    digests = {
        name: ScoreSpec.preset(name).digest for name in ("blimp_paper", "lm_eval_v04", "babylm2025", "diagnnose")
    }
    # What the default stands for where all pairs are of equal length.
    assert ScoreSpec(normalization="sum").digest == "7442e065"
    assert digests == {
        "blimp_paper": "13b67bb9",
        "lm_eval_v04": "c14ab598",
        "babylm2025": "2f76f847",
        "diagnnose": "1cc1a456",
    }
