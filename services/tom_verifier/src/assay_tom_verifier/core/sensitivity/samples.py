"""What gradients are summed over: texts that ask after a belief, and windows of general text."""

from __future__ import annotations

from itertools import islice
from random import Random

import torch
from transformers import PreTrainedTokenizerBase

from assay.models.windows import Windows
from assay_tom_verifier.core.sensitivity.answers import continuation
from assay_tom_verifier.core.sensitivity.gradient_squares import Sample
from assay_tom_verifier.core.sensitivity.tasks.item import Item, Task
from assay_tom_verifier.core.sensitivity.tasks.suite import drawn_items

# Those that the published scan reads; irony is only examined.
SCANNED: tuple[Task, ...] = ("unexpected-contents", "unexpected-transfer")


def belief_items(count: int, seed: int) -> list[Item]:
    """Questions after a belief, one a drawn text, half of each task; conditions and reversal are drawn too."""
    random = Random(f"scan {seed}")
    texts = [drawn_items(random.getrandbits(48), task) for task in SCANNED]
    return [
        random.choice([item for item in next(texts[number % len(texts)]) if item.asks == "belief"])
        for number in range(count)
    ]


def belief_samples(count: int, seed: int, tokenizer: PreTrainedTokenizerBase) -> list[Sample]:
    """The answer's first token is what is learned."""
    found = (continuation(item.prompt, item.answer, tokenizer) for item in belief_items(count, seed))
    return [Sample(torch.tensor(each.ids[: each.start + 1]), torch.tensor([each.start])) for each in found]


def general_samples(windows: Windows, count: int, seed: int) -> list[Sample]:
    """Windows drawn without replacement, every token of them learned; all windows where there are no more."""
    order = torch.randperm(windows.sequences, generator=torch.Generator().manual_seed(seed))
    return [Sample.whole(windows.ids[int(index)]) for index in islice(order, count)]
