"""What a score is: the conventions that change numbers, carried along with every result."""

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

BEGINNINGS = ("token", "none", "tokenizer", "special")
NORMALIZATIONS = ("auto", "sum", "matched", "token", "word", "character", "byte", "penlp", "slor", "normlp")
TIES = {"half": 0.5, "good": 1.0, "bad": 0.0}
PRECISIONS = ("default", "high", "highest", "bfloat16", "tensorfloat32", "float32")


class SpecMismatchError(ValueError):
    """Two results were to be compared whose conventions differ."""


@dataclass(frozen=True)
class ScoreSpec:
    """The conventions of a score.

    Attributes:
        name: of the preset it began as; specs that differ in nothing else are the same.
        beginning: ``"token"``: every sentence is read after a start token, so that its first token is scored;
            ``"none"``: the sentence stands alone and its first token is not scored; ``"tokenizer"``: after
            whatever special tokens the tokenizer itself puts there, if any; ``"special"``: among whatever special
            tokens it puts before and after a text, which all count for the whole sentence, but the first of all.
        context: text read before the start token and not scored.
        score_first: whether the first token is scored where something comes before it.
        score_end: whether the end-of-sentence token counts for the whole sentence (never for a region of it).
        leading_space: whether a space is put before the sentence, which changes its first token.
        regions: what is scored, the first being the one that a summary shows. ``"sentence"``: all of it;
            ``"difference"``: from the first token in which the sentences of a pair differ to the end;
            ``"critical"``: the suite's critical region; ``"critical_last"``: the last token of it; otherwise a
            region named by the suite, such as ``"one_prefix"``. Nothing else is computed.
        normalization: what becomes of a region's summed log-probability LP, with n its number of tokens and LP_u
            its log-probability under a unigram model: ``"sum"`` LP; ``"matched"`` LP / n times the mean n of the
            pair, so that no sentence gains by being shorter and pairs of equal n keep their sums; ``"auto"``: matched
            if a region of any pair differs in n, otherwise sum (a scorer's spec says which it was); ``"token"``,
            ``"word"``, ``"character"``, ``"byte"``: LP divided by their number; ``"penlp"``
            LP / ((5 + n) / 6) ** 0.8, ``"slor"`` (LP - LP_u) / n, ``"normlp"`` -LP / LP_u (Lau et al. 2020, table 2).
        ties: what a pair counts for accuracy whose scores are equal: ``"half"``, ``"good"`` (as a success) or
            ``"bad"`` (as a failure).
        precision: of matrix products, as `jax.default_matmul_precision` takes it. Log-probabilities and their
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
        # Warstadt et al. 2020: the sentence with the higher probability counts as judged acceptable.
        "blimp_paper": {"score_end": False, "regions": ("sentence",), "normalization": "sum", "ties": "bad"},
        # lm-evaluation-harness 0.3: loglikelihood("", sentence); likelihood1 > likelihood2.
        "lm_eval_v03": {"score_end": False, "regions": ("sentence",), "normalization": "sum", "ties": "bad"},
        # From 0.4: multiple choice with target_delimiter " "; np.argmax takes the first of equals, which is good.
        "lm_eval_v04": {
            "score_end": False,
            "leading_space": True,
            "regions": ("sentence",),
            "normalization": "sum",
            "ties": "good",
        },
        # babylm/evaluation-pipeline-2025: the tokenizer's own special tokens; argmax over (good, bad).
        "babylm2025": {
            "beginning": "tokenizer",
            "score_end": False,
            "regions": ("sentence",),
            "normalization": "sum",
            "ties": "good",
        },
        # minicons' IncrementalLMScorer.sequence_score as it is by default: the mean over all ids that the tokenizer
        # gives, its special tokens included, but the first.
        "minicons": {
            "beginning": "special",
            "score_end": False,
            "regions": ("sentence",),
            "normalization": "token",
            "ties": "bad",
        },
        # diagNNose's Warstadt task: the NPI's last token after each prefix, the state started by ". <eos>".
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
                raise ValueError(f"ScoreSpec.{field}={getattr(self, field)!r}: valid are {', '.join(valid)}")
        if isinstance(self.regions, str) or not self.regions or not all(self.regions):
            raise ValueError(f"ScoreSpec.regions={self.regions!r}: give the names of one or more regions")
        if len(set(self.regions)) < len(self.regions):
            raise ValueError(f"ScoreSpec.regions={self.regions!r}: a region is named twice")
        object.__setattr__(self, "regions", tuple(self.regions))

    @classmethod
    def preset(cls, name: str, **changes: Any) -> "ScoreSpec":
        """The conventions of a published tool; `changes` are fields to set otherwise (and are no longer its own).

        ``blimp_paper`` (Warstadt et al. 2020), ``lm_eval_v03`` and ``lm_eval_v04`` (lm-evaluation-harness
        before and from 0.4), ``babylm2025`` (evaluation-pipeline-2025), ``minicons`` (sequence_score by default),
        ``diagnnose`` (its Warstadt task).
        """
        if name not in cls.presets:
            close = difflib.get_close_matches(name, cls.presets, n=1)
            hint = f" (did you mean {close[0]}?)" if close else ""
            raise ValueError(f"there is no preset {name!r}{hint}; there are {', '.join(cls.presets)}")
        label = f"{name}*" if changes else name
        return cls(**{"name": label, **cls.presets[name], **changes})

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain values, for manifests and tables."""
        return {**dataclasses.asdict(self), "regions": list(self.regions)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "ScoreSpec":
        """The spec that `to_dict` gave the values of."""
        return cls(**{**values, "regions": tuple(values["regions"])})

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that name all of the spec but its name."""
        values = {key: value for key, value in self.to_dict().items() if key != "name"}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def label(self) -> str:
        """Name and digest, such as ``"blimp_paper:1f0c5a2e"``; what tables carry."""
        return f"{self.name or 'spec'}:{self.digest}"

    @property
    def described(self) -> str:
        """The label with the fields that are not as in ``ScoreSpec()``: ``"spec:cf35f544 (score_end=False)"``."""
        default = ScoreSpec().to_dict()
        # "auto" stands for "sum" wherever that is fair.
        default["normalization"] = self.normalization if self.normalization == "auto" else "sum"
        unlike = {key: value for key, value in self.to_dict().items() if key != "name" and value != default[key]}
        shown = (f"{key}={','.join(value) if key == 'regions' else value}" for key, value in unlike.items())
        return f"{self.label} ({', '.join(shown)})" if unlike else self.label

    def differences(self, other: "ScoreSpec", here: str = "here", there: str = "there") -> list[str]:
        """How another spec differs, a line for each field: its value here (in this spec) and there (in the other)."""
        mine, theirs = self.to_dict(), other.to_dict()
        return [
            f"{key}: {mine[key]!r} {here}, {theirs[key]!r} {there}"
            for key in mine
            if key != "name" and mine[key] != theirs[key]
        ]

    @classmethod
    def of_label(cls, label: str) -> "ScoreSpec | None":
        """The spec behind a label, if it is a default or a preset as it is; None for others."""
        # A scorer's spec says what "auto" stood for.
        defaults = [
            cls(score_end=end, normalization=rule) for end in (True, False) for rule in ("auto", "sum", "matched")
        ]
        known = [*defaults, *(cls.preset(name) for name in cls.presets)]
        digest = label.rpartition(":")[2]
        return next((spec for spec in known if spec.digest == digest), None)

    def require_same(self, other: "ScoreSpec") -> None:
        """Refuse to go on if another spec differs.

        Raises:
            SpecMismatchError: with the fields that differ.
        """
        if found := self.differences(other):
            raise SpecMismatchError(
                f"scores made by different conventions (here {self.label}, there {other.label}) cannot be compared: "
                + "; ".join(found)
            )


def pair_accuracy(delta: np.ndarray, ties: str = "half") -> np.ndarray:
    """1 where the good sentence scores higher, 0 where lower, and where they tie what `ScoreSpec.ties` says.

    A delta that is not finite gives NaN: a score that does not exist is neither right nor wrong.
    """
    right = np.where(delta > 0, 1.0, np.where(delta < 0, 0.0, TIES[ties]))
    return np.where(np.isfinite(delta), right, np.nan)
