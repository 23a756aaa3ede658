"""Gradients drawn in numpy, and the files that training would write of them."""

import numpy as np

TASKS = ("only", "adverbs", "questions", "lm")
GROUPS = ("embedding", "recurrent_0", "recurrent_1", "output")


def draw_gradients(members=2, groups=4, tasks=4, batches=4, parameters=60, noise=0.6, seed=0):
    """Gradients [members, groups, tasks * batches, parameters]: what all share, what each has alone, noise."""
    random = np.random.default_rng(seed)
    shared = random.normal(size=(members, groups, 1, 1, parameters))
    own = random.normal(size=(members, groups, tasks, 1, parameters))
    drawn = noise * random.normal(size=(members, groups, tasks, batches, parameters))
    return (shared + own + drawn).reshape(members, groups, tasks * batches, parameters)


def products(gradients):
    return gradients @ gradients.swapaxes(-1, -2)


def file_arrays(gradients, batches=4, tasks=TASKS, groups=GROUPS, second_moment=None, **more):
    """The arrays of gradients/STEP.npz."""
    gram = products(gradients).astype(np.float32)
    adam = np.full_like(gram, np.nan)
    if second_moment is not None:
        adam = (gradients / second_moment) @ gradients.swapaxes(-1, -2)
    return {
        "groups": np.array(groups),
        "tasks": np.array(tasks),
        "n_items": np.full((len(tasks), batches), 10),
        "gram": gram,
        "gram_adam": adam.astype(np.float32),
        "gram_abs": products(np.abs(gradients)).astype(np.float32),
        **more,
    }


def item_arrays(gradients, task, npi):
    """The arrays that the last checkpoint has on top: gradients [members, groups, N, parameters]."""
    return {
        "item_gram": products(gradients).astype(np.float32),
        "item_task": np.array(task),
        "item_npi": np.array(npi),
        "item_name": np.array([f"{name}-{i}" for i, name in enumerate(task)]),
    }
