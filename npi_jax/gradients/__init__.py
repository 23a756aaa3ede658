"""Dot products of task gradients: micro-batches of items, and functions that compute all their products."""

from npi_jax.gradients.batches import (
    Batches,
    MicroBatches,
    TaskItems,
    choose_items,
    item_batches,
    task_batches,
    text_batches,
)
from npi_jax.gradients.lookahead import LOOKAHEAD_STEP, make_lookahead
from npi_jax.gradients.products import Products, make_products
from npi_jax.results.names import LM

__all__ = [
    "LM",
    "LOOKAHEAD_STEP",
    "Batches",
    "MicroBatches",
    "Products",
    "TaskItems",
    "choose_items",
    "item_batches",
    "make_lookahead",
    "make_products",
    "task_batches",
    "text_batches",
]
