"""Whether an endpoint answers: one request that fails is that request's loss, an outage is not."""

from __future__ import annotations

from typing import Final

from envs.errors import OutageError

MANY: Final = 8
"""So many requests in a row that came to nothing are the endpoint's fault, or the options'."""


class Contact:
    """What became of the requests to one endpoint.

    Args:
        id: the endpoint's, for messages.
        go_on: the option that resumes the run.

    Attributes:
        has_answered: any request, also one whose answer was found in the store.
    """

    def __init__(self, id: str, go_on: str) -> None:
        self._id, self._go_on = id, go_on
        self.has_answered = False
        self._refused_in_a_row = self._failed_in_a_row = 0
        self._answers = self._failures = 0
        self._last = ""

    def begin(self) -> None:
        """Begin to count a new piece of work, such as a wave of episodes."""
        self._answers = self._failures = 0

    def answered(self) -> None:
        """Count an answer."""
        self.has_answered = True
        self._refused_in_a_row = self._failed_in_a_row = 0
        self._answers += 1

    def refused(self) -> int:
        """Count a request that was refused for a reason that is unclear; how many in a row."""
        self._refused_in_a_row += 1
        return self._refused_in_a_row

    def gave_up(self, sentence: str) -> OutageError | None:
        """Count a request that failed in spite of all retries.

        Args:
            sentence: why.

        Returns:
            The error that ends the run where there are too many in a row.
        """
        self._last = sentence
        self._failed_in_a_row += 1
        self._failures += 1
        return self._outage(self._failed_in_a_row) if self._failed_in_a_row >= MANY else None

    def check(self) -> None:
        """Whether any request was answered since `begin`, if some failed.

        Raises:
            OutageError: none was.
        """
        if self._failures and not self._answers:
            raise self._outage(self._failures)

    def _outage(self, count: int) -> OutageError:
        requests = "the last request" if count == 1 else f"the last {count} requests"
        return OutageError(
            f"{self._id} gave no answer to {requests} in spite of all retries, so it seems to be "
            f"down; the last reason: {self._last} When it answers again, go on with the same "
            f"command and {self._go_on}; api.attempts and api.local_patience_s wait longer for it."
        )
