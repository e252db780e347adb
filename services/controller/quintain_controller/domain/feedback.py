"""Feedback for a backend: what the verifier said of a policy, and how it moved against its parent.

The comparison is made here, from recorded values, so that it does not depend on what a verifier happens to remember:
the same results must give the same requests.
"""

from __future__ import annotations

from quintain_controller.domain.model import Candidate, Verification

_MOST_LINES = 24


def compose(verification: Verification, parent: Candidate | None) -> str:
    """The verifier's feedback, then the train scenarios whose normalised value moved most against the parent."""
    own, other = verification.train, parent.train if parent is not None else None
    if parent is None or own is None or other is None:
        return verification.feedback
    moves = [(name, value, other.values[name]) for name, value in own.values.items() if name in other.values]
    moved = sorted((m for m in moves if m[1] != m[2]), key=lambda m: (-abs(m[1] - m[2]), m[0]))[:_MOST_LINES]
    lines = [f"- {name}: {value:.4f}, parent {before:.4f} ({value - before:+.4f})" for name, value, before in moved]
    unchanged = len(moves) - sum(1 for m in moves if m[1] != m[2])
    head = f"Against the parent (0 the worst, 1 the bound): {own.normalized:.4f}, parent {other.normalized:.4f}"
    tail = [f"- {unchanged} scenarios unchanged"] if unchanged else []
    return "\n".join([verification.feedback.rstrip(), "", head, *lines, *tail]).lstrip()
