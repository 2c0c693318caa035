"""`assay inference-optimizer`."""

from __future__ import annotations

import click

SERVICE = "inference_optimizer"


@click.group("inference-optimizer")
def inference_optimizer() -> None:
    """How much faster can a language model run, at what loss?

    MODEL is a directory as save_pretrained writes it, or the digest or label of a stored model.
    """
