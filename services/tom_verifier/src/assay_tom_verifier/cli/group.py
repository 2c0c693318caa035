"""`assay tom-verifier`."""

from __future__ import annotations

import click

SERVICE = "tom_verifier"


@click.group("tom-verifier")
def tom_verifier() -> None:
    """Does a language model follow who believes what, and can a verifier mend it?

    STORY is a file of one sentence a line, or - for what is typed in.
    """
