"""Which of BigToM's two answers a causal checkpoint finds likelier, by form of the question.

    PYTHONPATH=tests python -m bench.bigtom MODEL

MODEL is a directory as `save_pretrained` writes it. Reads the 100 development rows below ASSAY_DATA, six choices each;
see `assay_tom_verifier.core.bigtom` for what the shares mean: one half, and nothing under both conditions, is what a
model reaches that likes one answer whatever the story says. Prints the table; there is no bar.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import torch

from assay.cancel import CancelToken
from assay.models.local import LocalLanguageModel
from assay_tom_verifier.core.bigtom import read_bigtom, score_choices
from bench.moe_parts.tables import show

DEFAULT_DATA = Path(__file__).resolve().parents[2] / "../shared/data"


def main(model: Path) -> None:
    rows = Path(os.environ.get("ASSAY_DATA", DEFAULT_DATA)) / "tom-verifier" / "bigtom_dev.jsonl"
    choices = [choice for line in rows.read_text().splitlines() for choice in read_bigtom(json.loads(line))]
    found = score_choices(LocalLanguageModel(model, dtype=torch.float32), choices, cancel=CancelToken())
    show(
        f"BigToM, {len(choices)} choices of two answers",
        ("question", "stories", "true belief", "false belief", "both"),
        [
            (form, result.stories, f"{result.true_belief:.1%}", f"{result.false_belief:.1%}", f"{result.both:.1%}")
            for form, result in found.items()
        ],
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL")
    main(parser.parse_args().model)
