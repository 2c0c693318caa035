"""Small models that answer the tasks: what masks are tried on where no larger model is at hand.

One shape with rotary position encoding and the same without: SmolLM3's layers, in which transformers lets each layer
leave the rotation out (no positions at all then: a causal mask alone tells the order). They learn drawn templates,
never the fixed ones, and general text beside them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from assay.cancel import CancelToken
from assay.errors import InvalidInput
from assay.models.loading import transformers_loading
from assay.models.predict import predict, token_nats
from assay.progress import Progress
from assay.zoo.corpus import SPLITS, read_split
from assay.zoo.recipe import Recipe
from assay.zoo.tokenizer import END_ID, PAD_ID, train_tokenizer
from assay.zoo.tokens import read_tokens
from assay.zoo.train import new_model
from assay_tom_verifier.core.sensitivity.tasks.item import Item, Task
from assay_tom_verifier.core.sensitivity.tasks.suite import drawn_items
from assay_tom_verifier.core.verifier.optimise import Schedule, optimise

LAYERS = 4
Shares = Mapping[Task, float]
# Share of the drawn texts that are of each task, while all is learned, and while what remains is refined.
_LEARNED: Shares = {
    "unexpected-contents": 0.35,
    "unexpected-transfer": 0.35,
    "irony": 0.1,
    "localisation": 0.1,
    "language": 0.1,
}
_REFINED: Shares = {
    "unexpected-contents": 0.4,
    "unexpected-transfer": 0.4,
    "irony": 0.05,
    "localisation": 0.1,
    "language": 0.05,
}
# Characters of either kind: enough task texts for their words to become tokens of their own.
_TASK_CHARACTERS, _GENERAL_CHARACTERS = 600_000, 600_000
_GENERAL = "general"
_OTHERS = 2
_STORY_WEIGHT, _GENERAL_WEIGHT = 1.0, 0.5


@dataclass(frozen=True)
class SubjectRecipe:
    """rotary: whether layers rotate queries and keys. batch: task texts a step; general: windows of general text beside
    them, of `window` tokens each. Training goes through `steps` and, with the learning rate raised anew, through
    `refining_steps` of contrasted stories alone.
    """

    name: str
    rotary: bool
    steps: int = 2400
    refining_steps: int = 2400
    batch: int = 16
    general: int = 2
    window: int = 48
    learning_rate: float = 3e-3
    vocabulary: int = 1536
    width: int = 96
    heads: int = 4

    def fingerprint(self) -> str:
        """SHA-256, in hex, of all that decides the weights besides seed, general text and the tasks' wording."""
        decisive = {name: value for name, value in dataclasses.asdict(self).items() if name != "name"}
        decisive["learned"] = [
            _LEARNED,
            _REFINED,
            _TASK_CHARACTERS,
            _GENERAL_CHARACTERS,
            _OTHERS,
            _STORY_WEIGHT,
            _GENERAL_WEIGHT,
        ]
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    def shape(self) -> Recipe:
        """The network alone, in the zoo's words."""
        config = {
            "hidden_size": self.width,
            "intermediate_size": 2 * self.width,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.heads,
            "max_position_embeddings": 512,
            "no_rope_layers": [int(self.rotary)] * LAYERS,
            # As wide as the zoo's other models that learn to look things up: narrower ones take far longer.
            "initializer_range": 0.05,
            "tie_word_embeddings": True,
        }
        return Recipe(self.name, "", "smollm3", config, steps=self.steps, vocabulary=self.vocabulary)


SUBJECTS = {
    recipe.name: recipe for recipe in (SubjectRecipe("tom-rope", rotary=True), SubjectRecipe("tom-nope", rotary=False))
}


def train_subject(
    recipe: SubjectRecipe,
    text_dir: Path,
    out_dir: Path,
    *,
    seed: int,
    cancel: CancelToken,
    progress: Progress,
    checkpoint_dir: Path | None = None,
) -> float:
    """Trains on drawn task texts and on the train split of a text artifact; writes a loadable model to `out_dir`.

    Returns the seconds that training took, over all attempts. checkpoint_dir: state is kept there and taken up by the
    next call. Raises Cancelled and DeadlineExceeded (state saved first), InvalidInput where `out_dir` is in use.
    """
    if out_dir.exists() and any(out_dir.iterdir()):
        raise InvalidInput("out", f"{out_dir.name} is not empty; give a new directory")
    with tempfile.TemporaryDirectory(prefix="assay-tom-text-") as folder:
        _write_texts(Path(folder), text_dir)
        tokenizer = train_tokenizer(Path(folder), vocabulary=recipe.vocabulary)
        general = read_tokens(Path(folder), SPLITS[0], tokenizer, domain=_GENERAL, cancel=cancel)
    texts = TaskTexts(tokenizer, seed)
    model = new_model(recipe.shape(), seed)

    def loss_at(step: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed * 2**32 + step)
        shares = _LEARNED if step < recipe.steps else _REFINED
        ids, answers = texts.batch(step, recipe.batch, shares, contrasted=2 * step >= recipe.steps)
        windows = general.random_windows(recipe.general, recipe.window, generator)
        return _task_loss(model, ids, answers, generator) + _GENERAL_WEIGHT * _general_loss(model, windows)

    seconds, done = 0.0, 0
    for name, steps in (("learning", recipe.steps), ("refining", recipe.refining_steps)):
        state = optimise(
            model,
            partial(_later, loss_at, done),
            Schedule(steps, recipe.batch, recipe.learning_rate),
            run=f"{recipe.fingerprint()}-{seed}-{name}",
            cancel=cancel,
            progress=progress,
            checkpoint_dir=None if checkpoint_dir is None else checkpoint_dir / name,
        )
        seconds, done = seconds + state.seconds, done + steps
    out_dir.mkdir(parents=True, exist_ok=True)
    with transformers_loading():
        model.save_pretrained(out_dir)  # type: ignore[operator]
    tokenizer.save_pretrained(out_dir)
    return seconds


def _later(loss_at: Callable[[int], Tensor], first: int, step: int) -> list[Tensor]:
    return [loss_at(first + step)]


def _write_texts(folder: Path, text_dir: Path) -> None:
    """A train split of task texts and of the beginning of the text artifact's: what the tokenizer is trained on."""
    task = [(text, "task") for text in _until(_task_texts(), _TASK_CHARACTERS)]
    read = (text for text, _ in read_split(text_dir, SPLITS[0]))
    general = [(text, _GENERAL) for text in _until(read, _GENERAL_CHARACTERS)]
    lines = (json.dumps({"text": text, "domain": domain}) + "\n" for text, domain in task + general)
    (folder / f"{SPLITS[0]}.jsonl").write_text("".join(lines), encoding="utf-8")


class TaskTexts:
    """Drawn task texts as token ids; a step's texts depend on its number and the seed alone."""

    def __init__(self, tokenizer: Any, seed: int) -> None:
        self._tokenizer = tokenizer
        self._seed = seed

    def batch(self, step: int, count: int, shares: Shares, *, contrasted: bool) -> tuple[Tensor, Tensor]:
        """(ids [count, T] int64, padded on the right; which predicted tokens are answers, [count, T - 1] bool).

        contrasted: two stories of each drawn text, which shows what an answer hangs on once answers are being copied
        at all; before, a text each shows more.
        """
        random = Random(f"{self._seed} {step}")
        told: list[list[Item]] = []
        while len(told) < count:
            told += _told(random, shares, 2 if contrasted else 1)
        rows, answered = zip(*(self._row(items) for items in told[:count]), strict=True)
        ids = torch.full((count, max(map(len, rows))), PAD_ID)
        learned = torch.zeros(ids.shape, dtype=torch.bool)
        for number, (row, marks) in enumerate(zip(rows, answered, strict=True)):
            ids[number, : len(row)] = torch.tensor(row)
            learned[number, : len(row)] = torch.tensor(marks)
        return ids, learned[:, 1:]

    def _row(self, items: list[Item]) -> tuple[list[int], list[bool]]:
        """One story with all its questions: token ids, and which of them answer."""
        ids, answers = [END_ID, *self._encoded(items[0].story)], [False]
        for item in items:
            ids += self._encoded(f" {item.question}")
            answers += [False] * (len(ids) - len(answers))
            ids += self._encoded(f" {item.answer}")
            answers += [True] * (len(ids) - len(answers))
            ids += self._encoded(".")
        return ids, answers + [False] * (len(ids) - len(answers))

    def _encoded(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids


def _told(random: Random, shares: Shares, most: int) -> list[list[Item]]:
    """Stories of one drawn text, alike but for condition or order, `most` at most; each with all its questions."""
    task = random.choices(list(shares), list(shares.values()))[0]
    stories: dict[str, list[Item]] = {}
    for item in next(drawn_items(random.getrandbits(48), task)):
        stories.setdefault(item.story, []).append(item)
    chosen = random.sample(list(stories.values()), min(most, len(stories)))
    return [random.sample(items, len(items)) for items in chosen]


def _task_loss(model: Any, ids: Tensor, answers: Tensor, generator: torch.Generator) -> Tensor:
    """Mean nats of answers, and a share of those of some other tokens: the few that matter weigh more than the many.

    Other tokens are drawn, one in _OTHERS: a head over the vocabulary costs as much as two layers.
    """
    targets = ids[:, 1:]
    others = (targets != PAD_ID) & ~answers & (torch.randint(_OTHERS, targets.shape, generator=generator) == 0)
    chosen = answers | others
    hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state[chosen]
    nats = F.cross_entropy(model.lm_head(hidden), targets[chosen], reduction="none")
    answer = answers[chosen]
    return nats[answer].mean() + _STORY_WEIGHT * nats[~answer].mean()


def _general_loss(model: nn.Module, windows: Tensor) -> Tensor:
    output, targets = predict(model, windows)
    return token_nats(output.logits, targets).mean()


def _task_texts() -> Iterator[str]:
    random = Random("tokenizer")
    while True:
        for items in _told(random, _LEARNED, 1):
            yield " ".join([items[0].story, *(f"{item.question} {item.answer}." for item in items)])


def _until(texts: Iterator[str], characters: int) -> Iterator[str]:
    size = 0
    for text in texts:
        yield text
        size += len(text)
        if size >= characters:
            return
