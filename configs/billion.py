"""Sixteen transformers of a billion parameters on one TPU v5e pod: members too large for one device.

    npi-jax plan --config billion --topology v5e:16x16
    npi-jax run --config billion --config.corpus.paths="('corpus/train/*.txt',)" \
        --config.corpus.valid_paths="('corpus/valid.txt',)"

The rows, the parameters and the optimizer state of each member are sharded over 16 chips (``mesh.fsdp``). Members do
not communicate. Matrix products are bfloat16, parameters and sums float32. The backward pass recomputes the activations
of blocks. ``npi-jax plan`` compiles training, validation and scoring without a TPU in about three minutes, and prints
memory, communication and hours. Expected result: none yet; this experiment was planned, not run.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.name = "billion"
    config.variants = ("full", "no_npi")
    config.seeds = tuple(range(8))
    config.corpus = ConfigDict(
        {
            "source": "text",
            "paths": ("corpus/train/*.txt",),
            "valid_paths": ("corpus/valid.txt",),
            "planned_tokens": 1_000_000_000,
        }
    )
    config.tokenizer = ConfigDict({"kind": "bpe", "size": 32_768})
    config.model = ConfigDict(
        {
            "kind": "transformer",
            "width": 2048,
            "layers": 18,
            "heads": 16,
            "mlp": 5632,
            "compute_dtype": "bfloat16",
        }
    )
    config.train = ConfigDict(
        {
            "steps": 20_000,
            "batch_size": 64,
            "row_length": 1024,
            "optimizer": "adamw",
            "learning_rate": 0.0004,
            "weight_decay": 0.1,
            "schedule": "cosine",
            "warmup": 1000,
            "steps_per_call": 10,
            "loss_chunk": 1024,
            "remat": "blocks",
        }
    )
    config.mesh = ConfigDict({"ens": 16, "data": 16, "fsdp": True})
    config.score = ConfigDict({"every": 1000, "ngram": False, "suites": {"grammar": {}}})
    config.gradients = ConfigDict({"enabled": False})
    config.checkpoints = ConfigDict({"every": 1000, "keep": 2})
    return config
