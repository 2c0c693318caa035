"""Hi-ToM's published questions (He et al. 2023, arXiv:2310.16755), as far as the development rows go."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from assay_tom_verifier.core.stories.parse import parse_question, parse_story
from assay_tom_verifier.core.stories.tables import TableEngine
from assay_tom_verifier.core.verifier.questions import Questions, collate, with_beliefs


def published(rows: Path, length: int) -> tuple[Questions, Tensor]:
    """The questions of this length, clustered by story, and the answers as published: [B] int64 belief slots."""
    encoded, beliefs, orders, answers = [], [], [], []
    stories: dict[str, int] = {}
    clusters = []
    for line in rows.read_text().splitlines():
        row = json.loads(line)
        if row["length"] != length:
            continue
        story, question = parse_story(row["story"]).story, parse_question(row["question"])
        features, right = with_beliefs(story, question, TableEngine().believe(story, [question.chain], question.thing))
        encoded.append(features)
        beliefs.append(right)
        orders.append(question.order)
        answers.append(features.labels.claim(row["published_answer"]))
        clusters.append(stories.setdefault(row["story"], len(stories)))
    return collate(encoded, beliefs, orders, clusters), torch.tensor(answers)
