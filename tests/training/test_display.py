import io

import numpy as np
import pytest
from rich.console import Console

from npi_jax.training import display as display_module
from npi_jax.training.display import Display


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_is_shown(terminal, monkeypatch):
    monkeypatch.setattr(display_module, "PLAIN_SECONDS", 0.0)
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=140)
    with Display(console, 10, ["full", "full", "no_npi"]) as display:
        display.say("a line [not markup]")
        display.update(5, np.array([1.0, 2.0, 3.0]), 1234.5)
        display.update(10, np.array([1.0, 1.0, 2.0]), 1234.5)
    text = stream.getvalue()
    assert "a line [not markup]" in text
    assert "10/10" in text
    assert "full 1.000" in text
    assert "1,234 tokens/s" in text
    # A terminal shows one bar that changes; elsewhere each update is a line of its own.
    assert ("step 5/10  1,234" in text) != terminal
