"""Random damage to files, and the check that damaged files are read or refused with a message that names them."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from npi_jax.errors import UserError

MORE = int(os.environ.get("TEST_FUZZ", "1"))
"""Factor on the number of examples that are tried."""

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("../../etc/passwd"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def _places(value: Any, path: tuple = ()) -> list[tuple]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inner for place in _places(part, (*path, key)))]


def _exchanged(value: Any, path: tuple, new: Any) -> Any:
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = _exchanged(value[path[0]], path[1:], new)
    return copy


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Draw a copy of the content with up to three faults, or with one value of its JSON replaced."""
    try:
        value = json.loads(content)
    except ValueError:
        value = None
    if value is not None and draw(st.booleans()):
        place = draw(st.sampled_from(_places(value)))
        return json.dumps(_exchanged(value, place, draw(JSON))).encode()
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content)))
        to = draw(st.integers(at, min(len(content), at + 40)))
        match draw(st.sampled_from(["change", "cut off", "take out", "put in", "double"])):
            case "change":
                content = content[:at] + draw(st.binary(min_size=1, max_size=2)) + content[at + 1 :]
            case "cut off":
                content = content[:at]
            case "take out":
                content = content[:at] + content[to:]
            case "put in":
                content = content[:at] + draw(st.binary(max_size=8)) + content[at:]
            case "double":
                content = content[:to] + content[at:]
    return content


def is_read_or_refused_by_name(read: Callable[[Path], Any], path: Path) -> bool:
    """Return False if reading is refused without the path in the message; errors of other types are raised."""
    try:
        read(path)
    except UserError as error:
        return str(path) in str(error)
    return True
