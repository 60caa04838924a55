"""What is read from a job is shown, and does nothing."""

from hypothesis import given
from hypothesis import strategies as st

from campaign.core.model import Failure


@given(st.text(st.characters(exclude_categories=())))
def test_words_of_a_failure_move_no_terminal(text):
    shown = Failure(text, "generator.raised", text, traceback=text)
    for words in (shown.error_class, shown.message, shown.traceback):
        assert words.encode().decode() == words
        assert all(
            character in "\n\t" or not (ord(character) < 32 or 127 <= ord(character) < 160) for character in words
        )
    assert Failure(shown.message, "generator.raised", shown.message) == Failure(
        shown.error_class, "generator.raised", shown.message
    )


def test_they_can_still_be_read():
    failure = Failure("ValueError", "generator.raised", "\x1b]0;owned\x07 mass\tof\nµ-halo é")
    assert failure.message == "\\x1b]0;owned\\x07 mass\tof\nµ-halo é"
