import numpy as np
import pytest

from npi_jax.scoring import ScoreSpec, pair_accuracy


def test_ties_count_one_half_and_what_is_not_there_counts_nothing():
    accuracy = pair_accuracy(np.array([0.1, -0.1, 0.0, np.nan, np.inf]))
    np.testing.assert_array_equal(accuracy, [1.0, 0.0, 0.5, np.nan, np.nan])


def test_unknown_conventions_are_refused():
    with pytest.raises(ValueError, match=r"ScoreSpec.precision='exact': valid are default, high"):
        ScoreSpec(precision="exact")
    with pytest.raises(ValueError, match=r"ScoreSpec.beginning="):
        ScoreSpec(beginning="bos")
