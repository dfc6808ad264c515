"""Which prompts and templates of a label set help, and which hurt: each alone, and all without it.

Average precision judges how a label's prompts order the images. A prompt's effect is how much of it is
lost when the prompt is left out, with the interval of a paired bootstrap (`comparison`); what it can do
alone is told beside. Top-1 changes one label (or all that use a template) and leaves the others as
they are.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from siglipcli import scoring
from siglipcli.evaluation import comparison, metrics
from siglipcli.evaluation.comparison import Difference, Means, average_precisions, difference
from siglipcli.labels import Label, LabelSet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from siglipcli.evaluation.scored import Scored
    from siglipcli.results import Head
    from siglipcli.scoring import Encode

    Logits = Callable[[Sequence[tuple[str, ...]]], NDArray[np.float32]]

__all__ = [
    "LabelTrial",
    "PromptTrial",
    "Race",
    "SetTrial",
    "TemplateTrial",
    "templates",
    "trial",
]


@dataclass(frozen=True, slots=True)
class PromptTrial:
    """One prompt of a label.

    `effect` compares the label's average precision without the prompt (a) and with all (b); `alone` is
    that of the prompt alone. The accuracies are top-1 over all labels. `without` and the effect's
    measures are None where the label has no other prompt.
    """

    prompt: str
    template: str | None
    effect: Difference
    alone: float | None
    acc1_alone: float | None
    acc1_without: float | None


@dataclass(frozen=True, slots=True)
class LabelTrial:
    """A label: how many images have it, its average precision with all prompts, and each prompt."""

    label: str
    examples: int
    average_precision: float | None
    prompts: tuple[PromptTrial, ...]


@dataclass(frozen=True, slots=True)
class TemplateTrial:
    """One template, `{}` for the name, over the labels that use it beside other prompts.

    `labels` counts those that an image has. `effect` and `alone` are as a `PromptTrial`'s, means over
    these labels; `acc1` is top-1 over all labels, without the template (a) and with all (b).
    """

    template: str
    labels: int
    effect: Difference
    alone: float | None
    acc1: Difference
    acc1_alone: float | None


@dataclass(frozen=True, slots=True)
class SetTrial:
    """A label set's prompts, tried one by one; `acc1` and `mean_average_precision` are with all."""

    acc1: float | None
    mean_average_precision: float | None
    labels: tuple[LabelTrial, ...]
    templates: tuple[TemplateTrial, ...]


def trial(
    scored: Scored,
    vectors: NDArray[np.float32],
    encode: Encode,
    head: Head,
    counts: NDArray[np.uint8],
) -> SetTrial:
    """Try each prompt and template of `scored.labels`, whose logits `scored` holds.

    `vectors` is float32[n, d], the images' embeddings; `encode` turns texts into float32[m, d] and is
    asked once for each text; `counts` is of `comparison.draw`, for n images.
    """
    labels = scored.labels
    known = scoring.once([labels], encode)

    def logits(variants: Sequence[tuple[str, ...]]) -> NDArray[np.float32]:
        one_label_each = tuple(Label(str(i), prompts) for i, prompts in enumerate(variants))
        label_embeddings = scoring.embed_labels(
            LabelSet("", one_label_each, aggregate=labels.aggregate), known
        )
        raw = scoring.logits(vectors, label_embeddings, head)
        return np.asarray(raw + np.float32(labels.bias_shift), np.float32)

    return _Trial(scored, counts, logits).run()


def templates(labels: LabelSet) -> list[tuple[str | None, ...]]:
    """Return for each prompt of each label the template that it came from, or None.

    A label set holds prompts whose templates are filled in. A template is a prompt with its label's
    own name replaced by `{}`, if that makes the prompts of two labels or more the same.
    """
    readings = [[_readings(label.path, text) for text in label.prompts] for label in labels.labels]
    users = Counter(one for label in readings for one in {r for prompt in label for r in prompt})

    def shared(prompt: list[str]) -> str | None:
        best = max(prompt, key=lambda one: users[one], default=None)  # of equals, the first
        return best if best is not None and users[best] > 1 else None

    return [tuple(shared(prompt) for prompt in label) for label in readings]


def _readings(path: str, prompt: str) -> list[str]:
    """Return the templates that could have made `prompt`; a name may hold `/`, so it may be long."""
    parts = path.split("/")
    names = ["/".join(parts[first:]) for first in range(len(parts))]
    return [
        f"{prompt[:at]}{{}}{prompt[at + len(name) :]}"
        for name in names
        for at in range(len(prompt))
        if prompt.startswith(name, at)
    ]


class Race:
    """Which label is ranked first, while one label's logits change."""

    def __init__(self, scored: Scored) -> None:
        self.runs = metrics.ranked(scored)
        self._truth = scored.truth
        self._judged = scored.truth.any(axis=1)
        logits = np.where(self.runs, scored.logits, -np.inf)
        self.winners, self._best = _first(logits)
        logits[np.arange(len(logits)), self.winners] = -np.inf
        self._seconds, self._second = _first(logits)

    def changed(self, column: int, logits: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return int64[n]: who wins each image with these logits, float32[n], for one label."""
        leads = self.winners == column
        rivals = np.where(leads, self._seconds, self.winners)
        level = np.where(leads, self._second, self._best)
        wins = self.runs[:, column] & ((logits > level) | ((logits == level) & (column < rivals)))
        return np.where(wins, column, rivals)

    def hits(self, winners: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return float32[n]: 1 where the winner is right, else 0; NaN where nothing can be."""
        right = self._truth[np.arange(len(winners)), winners].astype(np.float32)
        return np.where(self._judged, right, np.float32(np.nan))


def _first(logits: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    winners = logits.argmax(axis=1)  # of equals, the first
    return winners, logits[np.arange(len(logits)), winners]


class _Template:
    """What is known of a template after some labels: their statistics, and who wins so far."""

    def __init__(self, images: int, columns: int) -> None:
        self.means = Means(columns)  # of average precision, without it and with all
        self.alone: list[float] = []
        self.winners = np.zeros((2, images), np.int64)  # with it alone, and without it
        self._best = np.full((2, images), -np.inf, np.float32)

    def offer(self, column: int, logits: NDArray[np.float32]) -> None:
        """Let the next label run: float32[2, n], with the template alone and without it."""
        wins = logits > self._best
        self._best[wins] = logits[wins]
        self.winners[wins] = column


class _Trial:
    """One pass over the labels, for their own prompts and for the templates at once."""

    def __init__(self, scored: Scored, counts: NDArray[np.uint8], logits: Logits) -> None:
        self._scored, self._counts, self._logits = scored, counts, logits
        self._right = metrics.relevant(scored)
        self._race = Race(scored)
        self._named = templates(scored.labels)
        beside_others = (own for own in self._named if len(own) > 1)
        names = dict.fromkeys(name for own in beside_others for name in own if name is not None)
        self._templates = {name: _Template(*counts.shape) for name in names}

    def run(self) -> SetTrial:
        """Try everything."""
        labels = tuple(self._label(column) for column in range(len(self._named)))
        known = [label.average_precision for label in labels if label.average_precision is not None]
        tried = (self._template(name, template) for name, template in self._templates.items())
        return SetTrial(
            _mean(self._race.hits(self._race.winners)),
            _mean(np.array(known)),
            labels,
            tuple(trial for trial in tried if trial.labels),
        )

    def _label(self, column: int) -> LabelTrial:
        label = self._scored.labels.labels[column]
        whole = self._scored.logits[:, column]
        alone, without = self._variants(label.prompts, whole)
        right = self._right[:, column]
        examples = int(right.sum())
        with_all = average_precisions(whole, right, self._counts)
        trials = []
        for i, (prompt, name) in enumerate(zip(label.prompts, self._named[column], strict=True)):
            lost = average_precisions(without[i], right, self._counts)
            only = average_precisions(alone[i], right, self._counts[:, :1])
            apart = comparison.differing(without[i], whole, right)
            effect = difference(lost, with_all, examples, apart)
            accuracies = [self._acc1(column, variant[i]) for variant in (alone, without)]
            if len(label.prompts) == 1:
                effect, accuracies[1] = Difference(), None
            elif name is not None and name not in self._named[column][:i]:
                self._templates[name].means.add(lost, with_all, examples, apart)
                self._templates[name].alone.append(float(only[0]))
            trials.append(PromptTrial(prompt, name, effect, _known(only[0]), *accuracies))
        self._run_templates(column, whole, alone, without)
        return LabelTrial(label.path, examples, _known(with_all[0]), tuple(trials))

    def _variants(
        self, prompts: tuple[str, ...], whole: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the logits of each prompt alone and of all others, float32[n_prompts, n]."""
        if len(prompts) == 1:
            return whole[None], whole[None]
        alone = [(prompt,) for prompt in prompts]
        without = [prompts[:i] + prompts[i + 1 :] for i in range(len(prompts))]
        both = self._logits(alone + without).T
        return both[: len(prompts)], both[len(prompts) :]

    def _run_templates(
        self,
        column: int,
        whole: NDArray[np.float32],
        alone: NDArray[np.float32],
        without: NDArray[np.float32],
    ) -> None:
        """Let a label run for each template: changed where it uses it, as it is where it does not."""
        runs = self._race.runs[:, column]
        own = self._named[column]
        for name, template in self._templates.items():
            i = own.index(name) if name in own else None
            pair = [whole, whole] if i is None else [alone[i], without[i]]
            template.offer(column, np.where(runs, pair, np.float32(-np.inf)))

    def _acc1(self, column: int, logits: NDArray[np.float32]) -> float | None:
        return _mean(self._race.hits(self._race.changed(column, logits)))

    def _template(self, name: str, template: _Template) -> TemplateTrial:
        alone, without = (self._race.hits(winners) for winners in template.winners)
        whole = self._race.hits(self._race.winners)
        return TemplateTrial(
            name,
            template.means.labels,
            template.means.difference(),
            _mean(np.array(template.alone)),
            comparison.paired_shares(without, whole),
            _mean(alone),
        )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _mean(values: NDArray[np.floating[Any]]) -> float | None:
    """Return the mean of what is not NaN."""
    known = values[~np.isnan(values)]
    return float(known.mean(dtype=np.float64)) if known.size else None
