import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_files_that_make_names_exist():
    named = re.findall(r"\b(?:tests|benchmarks|npi_jax)/[\w/]+\.py\b", (ROOT / "Makefile").read_text())
    assert len(named) >= 8
    assert not [name for name in named if not (ROOT / name).is_file()]
