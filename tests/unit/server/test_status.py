"""Errors as google.rpc.Status and back."""

from __future__ import annotations

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import BY_CODE, AssayError, FieldViolation, InvalidInput, Unavailable, from_code
from assay.status import from_status, to_status

HEADERS_BYTES = 8 * 1024  # what a gRPC client takes by default


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_every_kind_comes_back_as_it_went(code: str) -> None:
    sent = from_code(
        code,
        "layers[3]: is wrong; make it right",
        reason="WRONG",
        violations=[FieldViolation("layers[3]", "is wrong; make it right")],
        retry_after_s=2.5,
        metadata={"artifact": "sha256:0"},
    )
    found = from_status(to_status(sent))
    assert type(found) is type(sent)
    for name in ("message", "reason", "violations", "retry_after_s", "metadata"):
        assert getattr(found, name) == getattr(sent, name)


def test_what_is_away_says_when_to_come_back() -> None:
    assert from_status(to_status(Unavailable("away"))).retry_after_s == 1.0


texts = st.builds(str.__mul__, st.text(st.sampled_from("x\n%\U0001f9eaé"), max_size=50), st.sampled_from([1, 7, 400]))


@given(texts, st.lists(st.tuples(texts, texts), max_size=30))
def test_whatever_it_quotes_a_status_fits_the_headers_of_any_client(
    message: str, violations: list[tuple[str, str]]
) -> None:
    error = AssayError(message, violations=[FieldViolation(*pair) for pair in violations])
    status = to_status(error)
    sent = len(quote(status.message)) + len(base64.b64encode(status.SerializeToString()))
    assert sent < HEADERS_BYTES - 512


def test_a_short_message_is_not_touched() -> None:
    error = InvalidInput("k", "is 9; at most 8")
    assert to_status(error).message == "k: is 9; at most 8"


def test_lone_surrogates_do_not_break_an_error() -> None:
    assert "?" in to_status(InvalidInput("path\ud800", "is not valid Unicode")).message
