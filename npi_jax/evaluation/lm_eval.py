"""Model type ``npi_jax`` of the lm-evaluation-harness (`pip install lm-eval`).

    python -m npi_jax.lm_eval --model npi_jax --model_args run=runs/my,member=3 --tasks blimp
    python -m npi_jax.lm_eval --model npi_jax --model_args pretrained=DIR --tasks lambada_openai

The command line is that of the harness. ``run`` is a run directory, with ``member`` (default 0) and ``step`` (default
the last checkpoint). ``pretrained`` is a Hugging Face directory that `npi_jax.models.load_hf` reads. ``max_length`` is
the largest number of tokens that the model reads (default: its limit, or 1024). Longer texts are truncated from the
left, as in the harness. Texts get the special tokens that the tokenizer adds, unless ``add_bos_token=False``. Arguments
of the harness's other models, such as ``dtype`` and ``batch_size``, are accepted but have no effect: rows are packed,
and numbers are float32.
"""

import logging
import sys
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from lm_eval import utils
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model

from npi_jax.errors import UserError
from npi_jax.evaluation.harness_arguments import FLOAT32, integer, not_used
from npi_jax.evaluation.models import EvaluateError, ModelSet, open_models
from npi_jax.scoring import EncodedSentences, ScoreSpec, make_scorer
from npi_jax.training.devices.compile_cache import verify_compile_cache

DEFAULT_LENGTH = 1024
DEFAULT_NEW_TOKENS = 256
_ARGUMENTS = ("run", "member", "step", "run_code", "pretrained", "max_length", "add_bos_token")
_SPEC = ScoreSpec(beginning="none", score_end=False, regions=("continuation",))
# The harness's command line sets the level of its logger, which this child inherits.
_log = logging.getLogger("lm_eval.npi_jax")


@register_model("npi_jax")
class NpiJaxLM(TemplateLM):
    """A member of a run, or a Hugging Face checkpoint, for the harness.

    Args:
        run, member, step: a run directory, the member's number (default 0), and a checkpoint (default the last).
        run_code: allow a run with a custom model to run the code that it names.
        pretrained: a Hugging Face directory, instead of a run.
        max_length: largest number of tokens that the model reads at once.
        add_bos_token: whether the tokenizer's special tokens are added to a text; None for the tokenizer's default.
        arguments: arguments of the harness's other models, see `not_used`.

    Raises:
        EvaluateError: naming the argument that is not valid.
    """

    backend = "causal"

    def __init__(
        self,
        # These values come from a command line and can have any type.
        run: str | None = None,
        member: Any = None,
        step: Any = None,
        pretrained: str | None = None,
        run_code: Any = False,
        max_length: Any = None,
        add_bos_token: Any = None,
        **arguments: Any,
    ):
        super().__init__()
        _report_unused(arguments)
        for name, value in (("run_code", run_code), ("add_bos_token", add_bos_token)):
            if not isinstance(value, bool | None):
                raise EvaluateError(f"--model_args: {name}={value!r}; it must be True or False")
        if (run is None) == (pretrained is None):
            raise EvaluateError("give either run=DIR or pretrained=DIR in --model_args")
        models = _opened(run, pretrained, member, step, run_code=run_code)
        (stack, _), *_ = models.batches()
        self.model, self.tokenizer = models.model, models.tokenizer
        self.params = jax.device_put(jax.tree.map(lambda leaf: leaf[0], stack))
        self.add_bos_token = add_bos_token
        limit = getattr(self.model, "max_positions", None)
        self.max_length = integer("max_length", limit or DEFAULT_LENGTH if max_length is None else max_length, 1)
        if limit is not None and self.max_length > limit:
            raise EvaluateError(f"max_length={self.max_length} exceeds the {limit} positions of the model")

    @property
    def eot_token_id(self) -> int:
        """Token before texts without a context: beginning of sentence, or else end of sentence."""
        if self.tokenizer.start is None:
            raise EvaluateError("the tokenizer has neither a beginning- nor an end-of-sentence token")
        return self.tokenizer.start

    @property
    def tokenizer_name(self) -> str:
        """Name of the tokenizer, a key of the harness's cache."""
        return self.tokenizer.name

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Return token ids with the tokenizer's special tokens, unless they are not wanted or already in the text."""
        ids: list[int] = self.tokenizer.encode(string).ids.tolist()
        wanted = self.add_bos_token if add_special_tokens is None else add_special_tokens
        prefix, suffix = self.tokenizer.prefix, self.tokenizer.suffix
        if wanted is False or not (prefix or suffix):
            return ids
        if add_special_tokens is None and string.startswith(self.tokenizer.token(self.prefix_token_id)):
            return ids
        return [*prefix, *ids, *suffix]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Return the log-likelihood (nats) of each continuation, and whether greedy decoding produces it.

        Raises:
            EvaluateError: naming the request, if a continuation is empty.
        """
        for context, continuation in (request.args for request in requests):
            if not continuation:
                raise EvaluateError(f"a continuation is empty (its context ends in {context[-40:]!r})")
        return super().loglikelihood(requests, disable_tqdm=disable_tqdm)

    def _encode_pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Encode context and continuation as one text and split the tokens, as the harness does.

        The harness splits after as many tokens as the context alone has. If one token contains the end of the context
        and the complete continuation, no token is left to score. In this case that token is scored, with a warning.
        """
        before, after = super()._encode_pair(context, continuation)
        if after:
            return before, after
        encoded = self.tokenizer.encode(context + continuation)
        ids, inside = encoded.ids.tolist(), np.flatnonzero(encoded.offsets[:, 1] > len(context.rstrip()))
        if not len(inside):
            return before, []
        first = int(inside[0])
        _log.warning(
            "The first token of the continuation %r began in its context (ending in %r); all of that token is scored.",
            continuation[:40],
            context[-40:],
        )
        return [*self.tokenizer.prefix, *ids[:first]] or [self.prefix_token_id], ids[first:]

    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[tuple[str, str], list[int], list[int]]],
        disable_tqdm: bool = False,  # noqa: ARG002
        **_: Any,
    ) -> list[tuple[float, bool]]:
        """Score continuations given as token ids."""
        if not requests:
            return []
        cut = [self._cut(*request) for request in requests]
        _warn_of_cuts(
            [len(before) + len(after) - len(ids) for (_, before, after), (ids, _) in zip(requests, cut, strict=True)],
            self.max_length,
        )
        sentences = EncodedSentences(
            ids=[np.array(ids, np.int32) for ids, _ in cut],
            groups=np.arange(len(cut)),
            regions={"continuation": np.array([(len(ids) - n, len(ids)) for ids, n in cut], np.int32)},
        )
        try:
            scorer = make_scorer(self.model, sentences, _SPEC)
        except ValueError as error:
            raise EvaluateError(str(error)) from error
        log_probs, greedy = scorer(self.params).log_prob(), scorer.greedy(self.params)
        return [(float(value), bool(best)) for value, best in zip(log_probs, greedy, strict=True)]

    def _cut(self, texts: tuple[str, str], context: list[int], continuation: list[int]) -> tuple[list[int], int]:
        """Return the last token ids that fit, and the number of them that belong to the continuation."""
        # One more token fits, because the model predicts the last token and does not read it.
        ids = (context + continuation)[-(self.max_length + 1) :]
        n = min(len(continuation), len(ids) - 1)
        if not continuation or n < len(continuation):
            fault = f"longer than max_length ({self.max_length})" if continuation else "nothing to score"
            raise EvaluateError(f"the continuation {texts[1][:80]!r} has {len(continuation)} tokens: {fault}")
        return ids, n

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Return the log-likelihood (nats) of complete texts; longer ones are split into windows of `max_length`."""
        windows: list[tuple[tuple[str, str], list[int], list[int]]] = []
        owner: list[int] = []
        for number, request in enumerate(requests):
            ids = self.tok_encode(request.args[0])
            rolling = utils.get_rolling_token_windows(ids, self.prefix_token_id, self.max_length, 1)
            of_text = [(("", request.args[0]), *utils.make_disjoint_window(pair)) for pair in rolling]
            windows += of_text
            owner += [number] * len(of_text)
        values = [value for value, _ in self._loglikelihood_tokens(windows, disable_tqdm)]
        return (
            np.bincount(owner, weights=values, minlength=len(requests)).tolist() if windows else [0.0] * len(requests)
        )

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:  # noqa: ARG002
        """Return greedy continuations; each ends before the first of the strings in ``until``.

        Raises:
            EvaluateError: if a request needs sampling.
        """
        return [self._generate(*request.args) for request in requests]

    def _generate(self, context: str, options: dict[str, Any]) -> str:
        if options.get("do_sample") or options.get("temperature", 0.0) not in (0, 0.0):
            raise EvaluateError(
                "generate_until only decodes greedily; the task needs sampling (do_sample or temperature)"
            )
        until = options.get("until") or []
        stops = [until] if isinstance(until, str) else list(until)
        most = int(options.get("max_gen_toks", DEFAULT_NEW_TOKENS))
        prompt = self.tok_encode(context) or [self.prefix_token_id]
        ids = prompt[-max(1, self.max_length - most) :]
        _warn_of_cuts([len(prompt) - len(ids)], self.max_length)
        new: list[int] = []
        while len(new) < most and len(ids) + len(new) < self.max_length:
            token = self._next(ids + new)
            if token == self.tokenizer.end:
                break
            new.append(token)
            text = self.tokenizer.decode(new)
            if places := [text.index(stop) for stop in stops if stop and stop in text]:
                return text[: min(places)]
        return self.tokenizer.decode(new)

    def _next(self, ids: list[int]) -> int:
        # Lengths are rounded up to powers of two, because every length needs a compiled program.
        length = min(1 << max(4, (len(ids) - 1).bit_length()), self.max_length)
        tokens = np.zeros((1, length), np.int32)
        tokens[0, : len(ids)] = ids
        return int(_best_next(self.model, self.params, tokens, len(ids) - 1))


def _report_unused(arguments: dict[str, Any]) -> None:
    """Log the arguments of the harness that have no effect."""
    if unused := not_used(arguments, _ARGUMENTS):
        _log.info("not used by this model: %s", ", ".join(unused))
    if str(arguments.get("dtype") or "auto") not in FLOAT32:
        _log.warning("dtype=%s is not used: numbers are float32 here", arguments["dtype"])


def _opened(run: str | None, pretrained: str | None, member: Any, step: Any, *, run_code: bool) -> ModelSet:
    """Open the one model that the arguments name."""
    if run is not None:
        steps = "last" if step in (None, "last") else [integer("step", step, 0)]
        members = [0 if member is None else integer("member", member, 0)]
        return open_models([str(run)], steps=steps, members=members, run_code=run_code)
    for name, value in (("member", member), ("step", step)):
        if value is not None:
            raise EvaluateError(f"--model_args: {name}={value} is only for a run; pretrained=DIR has one model")
    models = open_models([str(pretrained)])
    if models.config is not None:
        raise EvaluateError(f"--model_args: pretrained={pretrained} is a run directory; give run={pretrained}")
    return models


def _warn_of_cuts(lost: Sequence[int], max_length: int) -> None:
    """Log the number of requests that were truncated from the left."""
    if cut := [count for count in lost if count > 0]:
        _log.warning(
            "%d of %d requests exceed the model's maximum length (%d): up to %d tokens were truncated from the left.",
            len(cut),
            len(lost),
            max_length,
            max(cut),
        )


def _best_next(model: Any, params: Any, tokens: np.ndarray, last: int) -> jax.Array:
    segments, positions = np.ones_like(tokens), np.arange(tokens.shape[1], dtype=np.int32)[None]
    return _jitted_best(model, params, tokens, segments, positions, last)


def _best(model: Any, params: Any, tokens: Any, segments: Any, positions: Any, last: Any) -> jax.Array:
    weights, bias = model.output(params)
    return jnp.argmax(model.hidden(params, tokens, segments, positions)[0, last] @ weights + bias)


_jitted_best = jax.jit(_best, static_argnums=0)


def main() -> None:
    """Run the harness's command line with the model type ``npi_jax``."""
    from lm_eval.__main__ import cli_evaluate  # noqa: PLC0415

    verify_compile_cache(lambda line: print(line, file=sys.stderr))
    try:
        cli_evaluate()
    except UserError as error:
        print(f"npi-jax: {error}", file=sys.stderr)
        sys.exit(1)
