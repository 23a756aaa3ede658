"""Our models in the lm-evaluation-harness (`pip install lm-eval`): its model type ``npi_jax``.

    python -m npi_jax.lm_eval --model npi_jax --model_args run=runs/my,member=3 --tasks blimp
    python -m npi_jax.lm_eval --model npi_jax --model_args pretrained=DIR --tasks lambada_openai

The command line is the harness's own. ``run`` is a run directory, with ``member`` (0) and ``step`` (the last kept);
``pretrained`` is a Hugging Face directory that `npi_jax.models.load_hf` reads. ``max_length`` bounds the tokens that
the model sees (its own limit, or 1024); longer texts lose their beginning, as the harness has it.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from lm_eval import utils
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model

from npi_jax.evaluate import EvaluateError, open_models
from npi_jax.scoring import EncodedSentences, ScoreSpec, make_scorer

DEFAULT_LENGTH = 1024
DEFAULT_NEW_TOKENS = 256
_SPEC = ScoreSpec(beginning="none", score_end=False, regions=("continuation",))


@register_model("npi_jax")
class NpiJaxLM(TemplateLM):
    """A member of a run, or a Hugging Face checkpoint, for the harness.

    Args:
        run, member, step: a run directory, the member's number, and the step of a checkpoint (the last one).
        run_code: run the code that a run names as its model, if it names some.
        pretrained: instead of a run, a Hugging Face directory.
        max_length: most tokens that the model sees at once.
        batch_size, device, max_batch_size: taken from the harness and not used; rows are packed.
    """

    backend = "causal"

    def __init__(
        self,
        run: str | None = None,
        member: int = 0,
        step: int | None = None,
        pretrained: str | None = None,
        run_code: bool = False,
        max_length: int | None = None,
        batch_size: Any = None,  # noqa: ARG002
        device: Any = None,  # noqa: ARG002
        max_batch_size: Any = None,  # noqa: ARG002
    ):
        super().__init__()
        if (run is None) == (pretrained is None):
            raise EvaluateError("give either run=DIR or pretrained=DIR in --model_args")
        if run is not None:
            steps: str | list[int] = "last" if step is None else [int(step)]
            models = open_models([run], steps=steps, members=[int(member)], run_code=run_code)
        else:
            models = open_models([str(pretrained)])
        (stack, _), *_ = models.batches()
        self.model, self.tokenizer = models.model, models.tokenizer
        self.params = jax.device_put(jax.tree.map(lambda leaf: leaf[0], stack))
        limit = getattr(self.model, "max_positions", None)
        self.max_length = int(max_length or limit or DEFAULT_LENGTH)
        if limit is not None and self.max_length > limit:
            raise EvaluateError(f"max_length={self.max_length} is more than the {limit} positions of the model")

    @property
    def eot_token_id(self) -> int:
        """The end-of-sentence token, before which texts without a context are read."""
        if self.tokenizer.start is None:
            raise EvaluateError("the tokenizer has neither a beginning- nor an end-of-sentence token")
        return self.tokenizer.start

    @property
    def tokenizer_name(self) -> str:
        """For the harness's cache."""
        return self.tokenizer.name

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:  # noqa: ARG002
        """Token ids without special tokens."""
        return self.tokenizer.encode(string).ids.tolist()

    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[tuple[str, str], list[int], list[int]]],
        disable_tqdm: bool = False,  # noqa: ARG002
        **_: Any,
    ) -> list[tuple[float, bool]]:
        """Log-likelihood (nats) of each continuation after its context, and whether greedy decoding gives it."""
        if not requests:
            return []
        cut = [self._cut(context, continuation) for _, context, continuation in requests]
        spans = [(len(ids) - n, len(ids)) for ids, n in cut]
        sentences = EncodedSentences(
            [np.array(ids, np.int32) for ids, _ in cut],
            np.arange(len(cut)),
            regions={"continuation": np.array(spans, np.int32)},
        )
        scorer = make_scorer(self.model, sentences, _SPEC)
        log_probs, greedy = scorer(self.params).log_prob(), scorer.greedy(self.params)
        return [(float(value), bool(best)) for value, best in zip(log_probs, greedy, strict=True)]

    def _cut(self, context: list[int], continuation: list[int]) -> tuple[list[int], int]:
        """The last tokens that fit, and how many of them are the continuation's."""
        # The last token is only predicted, not read.
        ids = (context + continuation)[-(self.max_length + 1) :]
        n = min(len(continuation), len(ids) - 1)
        if n < len(continuation):
            raise EvaluateError(
                f"a continuation of {len(continuation)} tokens is longer than max_length ({self.max_length})"
            )
        return ids, n

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood (nats) of whole texts, in windows of `max_length` where they are longer."""
        windows: list[tuple[tuple[str, str], list[int], list[int]]] = []
        owner: list[int] = []
        for number, request in enumerate(requests):
            ids = self.tok_encode(request.args[0])
            rolling = utils.get_rolling_token_windows(ids, self.prefix_token_id, self.max_length, 1)
            found = [(("", ""), *utils.make_disjoint_window(pair)) for pair in rolling]
            windows += found
            owner += [number] * len(found)
        values = [value for value, _ in self._loglikelihood_tokens(windows, disable_tqdm)]
        return (
            np.bincount(owner, weights=values, minlength=len(requests)).tolist() if windows else [0.0] * len(requests)
        )

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:  # noqa: ARG002
        """Greedy continuations, up to one of the strings in ``until``.

        Raises:
            EvaluateError: if a request asks for sampling.
        """
        return [self._generate(*request.args) for request in requests]

    def _generate(self, context: str, options: dict[str, Any]) -> str:
        if options.get("do_sample") or options.get("temperature", 0.0) not in (0, 0.0):
            raise EvaluateError("generate_until is greedy here; the task asks for sampling")
        until = options.get("until") or []
        stops = [until] if isinstance(until, str) else list(until)
        room = int(options.get("max_gen_toks", DEFAULT_NEW_TOKENS))
        ids = (self.tok_encode(context) or [self.prefix_token_id])[-max(1, self.max_length - room) :]
        new: list[int] = []
        while len(new) < room and len(ids) + len(new) < self.max_length:
            token = self._next(ids + new)
            if token == self.tokenizer.end:
                break
            new.append(token)
            text = self.tokenizer.decode(new)
            if places := [text.index(stop) for stop in stops if stop and stop in text]:
                return text[: min(places)]
        return self.tokenizer.decode(new)

    def _next(self, ids: list[int]) -> int:
        # Lengths in powers of two: a program for each, not one for every length.
        length = min(1 << max(4, (len(ids) - 1).bit_length()), self.max_length)
        tokens = np.zeros((1, length), np.int32)
        tokens[0, : len(ids)] = ids
        return int(_best_next(self.model, self.params, tokens, len(ids) - 1))


def _best_next(model: Any, params: Any, tokens: np.ndarray, last: int) -> jax.Array:
    segments, positions = np.ones_like(tokens), np.arange(tokens.shape[1], dtype=np.int32)[None]
    return _jitted_best(model, params, tokens, segments, positions, last)


def _best(model: Any, params: Any, tokens: Any, segments: Any, positions: Any, last: Any) -> jax.Array:
    weights, bias = model.output(params)
    return jnp.argmax(model.hidden(params, tokens, segments, positions)[0, last] @ weights + bias)


_jitted_best = jax.jit(_best, static_argnums=0)


def main() -> None:
    """The harness's command line, which knows the model type now."""
    from lm_eval.__main__ import cli_evaluate  # noqa: PLC0415

    cli_evaluate()


if __name__ == "__main__":
    main()
