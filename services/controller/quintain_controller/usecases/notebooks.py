"""Reading the notebook of a search, running or ended."""

from __future__ import annotations

from collections import deque

from quintain_controller.domain.model import Candidate
from quintain_controller.domain.notebook import Notebook
from quintain_controller.usecases.async_store import AsyncStore

_PAGE = 500
_MOST_ENTRIES = 1000


async def read_notebook(store: AsyncStore, search_id: str) -> tuple[list[Candidate], tuple[str, ...]]:
    """The latest candidates with a hypothesis, and the lessons as the next request would carry them. Raises
    NotFound."""
    record = await store(store.blocking.search, search_id)
    notebook, after = Notebook(), -1
    found: deque[Candidate] = deque(maxlen=_MOST_ENTRIES)
    while page := await store(store.blocking.candidate_page, search_id, after, _PAGE):
        after = page[-1].number
        for candidate in page:
            if candidate.number < record.told:
                notebook.tell(candidate)
            if candidate.hypothesis:
                found.append(candidate)
    return list(found), notebook.texts(notebook.chosen())
