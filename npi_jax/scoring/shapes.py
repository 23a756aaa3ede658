"""Annotations of arrays with their shapes, which need nothing but jax and numpy at run time.

Type checkers see the types of jaxtyping. So does a process that loaded jaxtyping before: there, as in the tests, shapes
can be checked. Elsewhere ``Float[np.ndarray, " sentences"]`` is the bare ``np.ndarray``.
"""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or "jaxtyping" in sys.modules:
    from jaxtyping import Bool, Float, Int, Integer, Shaped
else:

    class _Annotation:
        def __class_getitem__(cls, array_and_shape: tuple[Any, str]) -> Any:
            return array_and_shape[0]

    Bool = Float = Int = Integer = Shaped = _Annotation

__all__ = ["Bool", "Float", "Int", "Integer", "Shaped"]
