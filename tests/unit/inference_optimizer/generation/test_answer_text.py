"""An answer's text as it grows: whole characters, nothing of a stop text, and all of it in the end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from assay_inference_optimizer.core.generation.answer_text import AnswerText, spelled


def of_bytes(tokens: list[int]) -> str:
    """A tokenizer whose tokens are bytes."""
    return bytes(tokens).decode(errors="replace")


def grown(data: bytes, stop: tuple[str, ...] = ()) -> tuple[str, list[str], bool]:
    """(all of it, what each token gave out, whether a stop text ended it)."""
    text = AnswerText(of_bytes, stop)
    parts = []
    for token in data:
        parts.append(text.add(token))
        if text.stopped:
            break
    return "".join(parts) + text.finish(), parts, text.stopped


@given(st.text(max_size=30))
def test_what_is_given_out_adds_up_to_the_text(answer: str) -> None:
    whole, parts, _ = grown(answer.encode())
    assert whole == answer
    for part in parts:
        assert "\N{REPLACEMENT CHARACTER}" not in part or "\N{REPLACEMENT CHARACTER}" in answer


def test_a_character_comes_with_its_last_byte() -> None:
    _, parts, _ = grown("aé🜁b".encode())
    assert parts == ["a", "", "é", "", "", "", "🜁", "b"]


@given(st.text("ab", max_size=20), st.lists(st.text("ab", min_size=1, max_size=4), min_size=1, max_size=3))
def test_nothing_at_or_behind_a_stop_text_is_given_out(answer: str, stops: list[str]) -> None:
    whole, _, stopped = grown(answer.encode(), tuple(stops))
    # The stop that is complete first ends it; of those complete at once, the one that began first.
    ends = [(answer.find(stop) + len(stop), answer.find(stop)) for stop in stops if stop in answer]
    first = min((end for end, _ in ends), default=None)
    expected = answer if first is None else answer[: min(start for end, start in ends if end == first)]
    assert stopped == (first is not None)
    assert whole == expected


def test_what_may_begin_a_stop_text_is_held_back_until_it_does_not() -> None:
    _, parts, _ = grown(b"xENx", ("END",))
    assert parts == ["x", "", "", "ENx"]


def test_bytes_that_are_no_text_come_out_as_replacements() -> None:
    whole, _, _ = grown(b"a\xff\xfe")
    assert whole == "a\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"


@given(st.text(max_size=20))
def test_every_token_of_a_character_covers_all_of_it(answer: str) -> None:
    # Tokens are bytes, so the offsets are those of the characters they are part of.
    expected, start = [], 0
    for character in answer:
        size = len(character.encode())
        expected += [(start, start + size)] * size
        start += size
    assert spelled(of_bytes, list(answer.encode())) == (answer, tuple(expected))


def test_a_character_that_is_never_completed_is_covered_too() -> None:
    text, offsets = spelled(of_bytes, list("aé".encode()[:2]))
    assert text == "a\N{REPLACEMENT CHARACTER}"
    assert offsets == ((0, 1), (1, 4))
    assert spelled(of_bytes, []) == ("", ())
