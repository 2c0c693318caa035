"""The sidecar's header, taken apart: whatever stands in quotes is nobody's name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import AssayError, Unauthenticated
from assay.server.identity import is_loopback, split_quoted, uri_of_forwarded_cert

plain = st.text(st.characters(codec="ascii", exclude_characters='",;=\\'), max_size=20)


@given(st.lists(plain, min_size=1, max_size=5))
def test_a_text_without_quotes_is_split_as_ever(parts: list[str]) -> None:
    assert list(split_quoted(",".join(parts), ",")) == parts


@given(st.text(max_size=60), st.sampled_from(",;"))
def test_no_character_gets_lost(text: str, separator: str) -> None:
    assert separator.join(split_quoted(text, separator)) == text


@given(st.text(st.sampled_from('URI=,;"\\abc'), max_size=60))
def test_a_header_holds_one_uri_or_is_refused(header: str) -> None:
    try:
        uri = uri_of_forwarded_cert(header)
    except Unauthenticated:
        return
    assert uri
    assert uri in header


@given(st.text(st.characters(codec="ascii", exclude_characters='"\\'), max_size=40))
def test_a_subject_cannot_smuggle_a_uri_in(subject: str) -> None:
    assert uri_of_forwarded_cert(f'Subject="{subject}";URI=spiffe://a') == "spiffe://a"
    with pytest.raises(AssayError):
        uri_of_forwarded_cert(f'Subject="{subject}"')


@pytest.mark.parametrize(
    ("peer", "loopback"),
    [
        ("ipv4:127.0.0.1:4711", True),
        ("ipv4:127.0.0.6:4711", True),
        ("ipv6:%5B::1%5D:4711", True),
        ("ipv6:[::1]:4711", True),
        ("unix:", True),
        ("unix:/run/assay.sock", True),
        ("unix-abstract:assay", True),
        ("ipv4:10.0.0.7:4711", False),
        ("ipv4:128.0.0.1:4711", False),
        ("ipv6:%5B::ffff:10.0.0.7%5D:4711", False),
        ("ipv6:[fe80::1%25eth0]:4711", False),
        ("ipv4:127.0.0.1.evil.test:4711", False),
        ("dns:localhost:4711", False),
        ("unixx:127.0.0.1:1", True),
        ("unknown", False),
        ("", False),
    ],
)
def test_only_this_machine_is_loopback(peer: str, loopback: bool) -> None:
    assert is_loopback(peer) is loopback
