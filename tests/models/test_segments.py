import numpy as np

from npi_jax.models.segments import text_segments


def test_every_end_of_sentence_begins_a_segment():
    ids, positions = text_segments(np.array([[0, 5, 6, 0, 7, 0, 0], [0, 8, 8, 8, 8, 8, 0]], np.uint16), eos=0)
    np.testing.assert_array_equal(ids, [[1, 1, 1, 2, 2, 3, 4], [1, 1, 1, 1, 1, 1, 2]])
    np.testing.assert_array_equal(positions, [[0, 1, 2, 0, 1, 0, 0], [0, 1, 2, 3, 4, 5, 0]])
