import numpy as np
import pytest
from facts import facts
from hypothesis import given
from hypothesis import strategies as st

from npi_jax.suites.formulas import FormulaError, parse_formula

VALUES = {("5", "a"): np.array([1.0, 2.0, 3.0, np.nan]), ("5", "b"): np.array([2.0, 2.0, 2.0, 2.0])}
VALUES |= {("*", "a b"): np.array([0.5, 0.5, 0.5, 0.5])}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(5;%a%) > (5;%b%)", [0, 0, 1]),
        ("(5;%a%)<(5;%b%)", [1, 0, 0]),
        ("[(5;%a%) = (5;%b%)]", [0, 1, 0]),
        ("[ (5;%a%) < (5;%b%) ] | [ (5;%a%) > (5;%b%) ]", [1, 0, 1]),
        ("[(5;%a%) < (5;%b%)] & [(*;%a b%) < (5;%a%)]", [1, 0, 0]),
        # & binds more tightly than |.
        ("(5;%a%)>0 | (5;%a%)>9 & (5;%a%)>9", [1, 1, 1]),
        ("[(5;%a%) - [(5;%b%) - (*;%a b%)]] > 0.4", [0, 1, 1]),
        ("(5;%b%) - (5;%a%) - (5;%a%) > -1", [1, 0, 0]),
        ("((5;%a%)+(5;%b%)) > 3.5", [0, 1, 1]),
    ],
)
def test_formulas_mean_what_they_say(text, expected):
    result = parse_formula(text).evaluate(VALUES)
    np.testing.assert_array_equal(result[:3], expected)
    # A missing value gives NaN.
    assert np.isnan(result[3])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(5;%a%) > ", ("f, column 11", "missing")),
        ("(5;%a%) + (5;%b%)", ("number", "prediction")),
        ("[(5;%a%) > 1", ("bracket", "column 1", "closed")),
        ("(5;%a%) > 1 ) ", ("column 12", "end")),
        ("(5;%a%) ! 1", ("column 8", "parsed")),
        ("(5;%a%) & (5;%a%) > 1", ("numbers", "'&'")),
        ("1 > 2", "region"),
        ("[(5;%a%) > 1] + 1 > 2", ("'+'", "numbers", "predictions")),
    ],
)
def test_faults_name_the_column(text, message):
    with pytest.raises(FormulaError, match=facts(message)):
        parse_formula(text, "f")


@given(st.text("()[];%*5a<>=&|+- .", max_size=30))
def test_any_text_is_read_or_refused(text):
    try:
        formula = parse_formula(text)
    except FormulaError:
        return
    values = {key: np.zeros(2) for key in formula.regions}
    assert formula.evaluate(values).shape == (2,)
