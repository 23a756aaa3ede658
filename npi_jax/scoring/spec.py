"""Conventions of scoring, which are stored with every result."""

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from npi_jax.scoring.shapes import Float

BEGINNINGS = ("token", "none", "tokenizer", "special")
NORMALIZATIONS = ("auto", "sum", "matched", "token", "word", "character", "byte", "penlp", "slor", "normlp")
TIES = {"half": 0.5, "good": 1.0, "bad": 0.0}
PRECISIONS = ("default", "high", "highest", "bfloat16", "tensorfloat32", "float32")


class SpecMismatchError(ValueError):
    """Two results were scored under different conventions and cannot be compared."""


@dataclass(frozen=True, kw_only=True)
class ScoreSpec:
    """The conventions of a score.

    Attributes:
        name: name of the preset that the spec was made from, with ``*`` if fields were changed. It is not one of the
            conventions.
        beginning: the tokens before a sentence. ``"token"``: the start token, so that the first token of the sentence
            is scored. ``"none"``: no token, so that the first token is not scored (unless there is a `context`).
            ``"tokenizer"``: the special tokens that the tokenizer adds before a text, if any. ``"special"``: the same,
            and those that it adds after a text. All of them then count for the region ``"sentence"``, except the first
            token that the model reads, which it cannot predict.
        context: text that the model reads before all these tokens; it is not scored.
        score_first: whether the first token is scored if a token comes before it.
        score_end: whether the end-of-sentence token counts for the region ``"sentence"``; it counts for no other.
        leading_space: whether a space is put before the sentence, which changes its first token.
        regions: the regions to score; summaries show the first. ``"sentence"``: all tokens. ``"difference"``: from the
            first token in which the two sentences of a pair differ, to the end. ``"critical"``: the suite's critical
            region. ``"critical_last"``: its last token. Other names are regions of the suite, such as
            ``"one_prefix"``.
        normalization: function of a region's summed log-probability LP, its number of tokens n, and its
            log-probability LP_u under a unigram model. ``"sum"``: LP. ``"matched"``: LP / n times the pair's mean n,
            which favors neither length and leaves pairs of equal n unchanged. ``"auto"``: ``"matched"`` if n differs
            in a region of any pair, else ``"sum"``; the scorer's spec states the choice. ``"token"``, ``"word"``,
            ``"character"``, ``"byte"``: LP divided by their number. ``"penlp"``: LP / ((5 + n) / 6) ** 0.8,
            ``"slor"``: (LP - LP_u) / n, ``"normlp"``: -LP / LP_u (Lau et al. 2020, table 2).
        ties: accuracy of a pair with equal scores: 0.5 (``"half"``), 1 (``"good"``) or 0 (``"bad"``).
        precision: precision of matrix products, as for `jax.default_matmul_precision`. Log-probabilities and their
            sums are always float32.
    """

    name: str = ""
    beginning: str = "token"
    context: str = ""
    score_first: bool = True
    score_end: bool = True
    leading_space: bool = False
    regions: tuple[str, ...] = ("critical", "sentence")
    normalization: str = "auto"
    ties: str = "half"
    precision: str = "highest"

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # Warstadt et al. 2020: the model judges the sentence with the higher probability as acceptable.
        "blimp_paper": {"score_end": False, "regions": ("sentence",), "normalization": "sum", "ties": "bad"},
        # lm-evaluation-harness 0.3: loglikelihood("", sentence); likelihood1 > likelihood2.
        "lm_eval_v03": {"score_end": False, "regions": ("sentence",), "normalization": "sum", "ties": "bad"},
        # From 0.4: multiple choice with target_delimiter " "; on ties np.argmax takes the first, the good sentence.
        "lm_eval_v04": {
            "score_end": False,
            "leading_space": True,
            "regions": ("sentence",),
            "normalization": "sum",
            "ties": "good",
        },
        # babylm/evaluation-pipeline-2025: the special tokens that the tokenizer adds; argmax over (good, bad).
        "babylm2025": {
            "beginning": "tokenizer",
            "score_end": False,
            "regions": ("sentence",),
            "normalization": "sum",
            "ties": "good",
        },
        # Default of minicons' IncrementalLMScorer.sequence_score: the mean over all token ids, with special tokens, but
        # without the first.
        "minicons": {
            "beginning": "special",
            "score_end": False,
            "regions": ("sentence",),
            "normalization": "token",
            "ties": "bad",
        },
        # diagNNose's Warstadt task: the NPI's last token after each prefix; ". <eos>" initializes the state.
        "diagnnose": {
            "context": ".",
            "score_end": False,
            "regions": ("critical_last",),
            "normalization": "sum",
            "ties": "bad",
        },
    }

    def __post_init__(self) -> None:
        choices = {
            "beginning": BEGINNINGS,
            "normalization": NORMALIZATIONS,
            "ties": tuple(TIES),
            "precision": PRECISIONS,
        }
        for field, valid in choices.items():
            if getattr(self, field) not in valid:
                raise ValueError(f"ScoreSpec.{field}={getattr(self, field)!r}: it must be one of {', '.join(valid)}")
        if isinstance(self.regions, str) or not self.regions or not all(self.regions):
            raise ValueError(f"ScoreSpec.regions={self.regions!r}: give a tuple of one or more region names")
        if len(set(self.regions)) < len(self.regions):
            raise ValueError(f"ScoreSpec.regions={self.regions!r}: a region is named twice")
        object.__setattr__(self, "regions", tuple(self.regions))

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "ScoreSpec":
        """Return the conventions of a published tool, with `changes` to single fields.

        ``blimp_paper`` (Warstadt et al. 2020), ``lm_eval_v03`` and ``lm_eval_v04`` (lm-evaluation-harness
        before and from 0.4), ``babylm2025`` (evaluation-pipeline-2025), ``minicons`` (default of sequence_score),
        ``diagnnose`` (its Warstadt task).

        Raises:
            ValueError: if there is no such preset, or a value is not valid.
        """
        if name not in cls.presets:
            close = difflib.get_close_matches(name, cls.presets, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise ValueError(f"there is no preset {name!r}{hint}; there are {', '.join(cls.presets)}")
        label = f"{name}*" if changes else name
        return cls(**{"name": label, **cls.presets[name], **changes})

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, for manifests and tables."""
        return {**dataclasses.asdict(self), "regions": list(self.regions)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ScoreSpec":
        """Make a spec of the values that `to_dict` returned."""
        return cls(**{**values, "regions": tuple(values["regions"])})

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits of a hash of all fields but the name."""
        values = {key: value for key, value in self.to_dict().items() if key != "name"}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def label(self) -> str:
        """Name and digest, such as ``"blimp_paper:1f0c5a2e"``; the column ``spec`` of tables."""
        return f"{self.name or 'spec'}:{self.digest}"

    @property
    def described(self) -> str:
        """Label with the fields that differ from ``ScoreSpec()``, such as ``"spec:cf35f544 (score_end=False)"``."""
        default = ScoreSpec().to_dict()
        # For pairs of equal length "auto" becomes "sum", which is therefore not listed as a difference.
        default["normalization"] = self.normalization if self.normalization == "auto" else "sum"
        unlike = {key: value for key, value in self.to_dict().items() if key != "name" and value != default[key]}
        shown = (f"{key}={','.join(value) if key == 'regions' else value}" for key, value in unlike.items())
        return f"{self.label} ({', '.join(shown)})" if unlike else self.label

    def differences(self, other: "ScoreSpec", here: str = "here", there: str = "there") -> list[str]:
        """Return a line for each field whose value differs in another spec.

        Args:
            other: the other spec.
            here, there: words that follow the value of this spec and the value of the other.
        """
        mine, theirs = self.to_dict(), other.to_dict()
        return [
            f"{key}: {mine[key]!r} {here}, {theirs[key]!r} {there}"
            for key in mine
            if key != "name" and mine[key] != theirs[key]
        ]

    @classmethod
    def of_label(cls, label: str) -> "ScoreSpec | None":
        """Return the default spec or preset that has a label; None if no such spec has it."""
        # A scorer's label is that of a spec in which "auto" is replaced.
        defaults = [
            cls(score_end=end, normalization=rule) for end in (True, False) for rule in ("auto", "sum", "matched")
        ]
        known = [*defaults, *(cls.preset(name) for name in cls.presets)]
        digest = label.rpartition(":")[2]
        return next((spec for spec in known if spec.digest == digest), None)

    def require_same(self, other: "ScoreSpec") -> None:
        """Raise an error if another spec has other conventions.

        Raises:
            SpecMismatchError: naming the fields that differ.
        """
        if differing := self.differences(other):
            raise SpecMismatchError(
                f"scores under different conventions (here {self.label}, there {other.label}) cannot be compared: "
                + "; ".join(differing)
            )


def pair_accuracy(delta: Float[np.ndarray, "*shape"], ties: str = "half") -> Float[np.ndarray, "*shape"]:
    """Return 1 for a delta above 0, 0 for one below, the value of `ties` for 0, and NaN for one that is not finite."""
    right = np.where(delta > 0, 1.0, np.where(delta < 0, 0.0, TIES[ties]))
    return np.where(np.isfinite(delta), right, np.nan)
