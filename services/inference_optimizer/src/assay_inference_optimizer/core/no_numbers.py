"""The one error of a model that computes no numbers, and whether dense attention was tried. Brings no torch."""

from __future__ import annotations

from assay.errors import AssayError, Internal

NON_FINITE = "NON_FINITE"
DENSE_RETRY = "dense_retry"
"""Key of the error's metadata; "1" where the text was read again with dense attention, in vain."""


def no_numbers() -> Internal:
    return Internal(
        "the model computed logits that are no numbers; its weights or its number format overflow, so try it in "
        "float32, or with dense attention",
        reason=NON_FINITE,
    )


def not_even_densely() -> Internal:
    """What follows where dense attention, tried after sparse, gave no numbers either."""
    return Internal(
        "the model computed logits that are no numbers, with sparse attention and again with dense; its weights or its "
        "number format overflow, so try it in float32",
        reason=NON_FINITE,
        metadata={DENSE_RETRY: "1"},
    )


def is_non_finite(error: AssayError) -> bool:
    return isinstance(error, Internal) and error.reason == NON_FINITE
