"""Types of arrays with their shapes, for annotations; jaxtyping is not needed at run time.

Type checkers see the types of jaxtyping. So do processes that imported jaxtyping before this module, such as the
tests, which check shapes. In all others ``Float[np.ndarray, " sentences"]`` means ``np.ndarray``.
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
