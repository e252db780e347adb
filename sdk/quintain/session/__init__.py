"""quintain for scripts and notebooks: a session with the services, searches and verdicts as plain Python.

>>> import quintain
>>> with quintain.connect("127.0.0.1:7070", verifier="127.0.0.1:7071") as session:      # doctest: +SKIP
...     search = session.create_search(suite="smoke", candidates=20).wait()
...     print(search.best.source)

`quintain.clients` has every rpc, sync and asyncio; this is the sync part of it that people need.
"""

from quintain.clients.candidates import CandidateRow
from quintain.session.search import Candidate, Event, Search
from quintain.session.session import Session, connect
from quintain.session.verdict import ScenarioRow, Score, Verdict

__all__ = ["Candidate", "CandidateRow", "Event", "ScenarioRow", "Score", "Search", "Session", "Verdict", "connect"]
