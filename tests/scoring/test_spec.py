import numpy as np
import pytest

from npi_jax.scoring import ScoreSpec, pair_accuracy


@pytest.mark.parametrize(("ties", "expected"), [("half", 0.5), ("wrong", 0.0), ("right", 1.0)])
def test_ties_count_as_told(ties, expected):
    accuracy = pair_accuracy(np.array([0.1, -0.1, 0.0, np.nan]), ties)
    np.testing.assert_array_equal(accuracy, [1.0, 0.0, expected, np.nan])


def test_unknown_conventions_are_refused():
    with pytest.raises(ValueError, match=r"ScoreSpec.ties='never': valid are half, wrong, right"):
        ScoreSpec(ties="never")
    with pytest.raises(ValueError, match=r"ScoreSpec.beginning="):
        ScoreSpec(beginning="bos")
