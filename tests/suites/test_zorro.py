import os
from pathlib import Path

import pytest
from facts import facts

from npi_jax.suites import SuiteError, load_suite


def test_the_second_line_of_two_is_the_good_one(tmp_path):
    (tmp_path / "npi-any.txt").write_text("even Mark ever finds .\nonly Mark ever finds .\nb x .\nb y .\n")
    suite = load_suite("zorro", tmp_path)
    assert [(item.item, item.good, item.bad) for item in suite] == [
        ("npi-any/0", "only Mark ever finds .", "even Mark ever finds ."),
        ("npi-any/1", "b y .", "b x ."),
    ]
    first = suite.items[0]
    # Not the words in which they differ: these are the licensors.
    assert (first.good[slice(*first.critical_good)], first.bad[slice(*first.critical_bad)]) == (first.good, first.bad)
    assert (first.paradigm, first.task) == ("npi-any", "npi-any")


def test_half_a_pair_is_refused(tmp_path):
    path = tmp_path / "x.txt"
    path.write_text("a b\nc d\ne f\n")
    with pytest.raises(SuiteError, match=facts("x.txt, line 3", "last sentence")):
        load_suite("zorro", path)
    path.write_text("a b\n\nc d\n")
    with pytest.raises(SuiteError, match=facts("x.txt, line 2", "blank")):
        load_suite("zorro", path)


@pytest.mark.skipif(
    not (Path(os.environ.get("NPI_JAX_DATA", "")) / "zorro").is_dir(), reason="NPI_JAX_DATA has no zorro"
)
def test_all_of_zorro():
    suite = load_suite("zorro", Path(os.environ["NPI_JAX_DATA"]) / "zorro" / "sentences" / "babyberta")
    assert len(suite) == 46_000
    assert len({item.paradigm for item in suite}) == 23
