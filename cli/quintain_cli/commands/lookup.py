"""Searches and candidates by what a person calls them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from quintain.clients.pages import entries
from quintain.controller.v1 import controller_pb2 as pb
from quintain.errors import NotFound
from quintain.verifier.v1 import verifier_pb2
from quintain_cli import completion
from quintain_cli.connect import Connection

PAGE = 500

SearchId = Annotated[
    str,
    typer.Argument(metavar="SEARCH", autocompletion=completion.searches, help="Id of a search (`quintain searches`)."),
]
CandidateId = Annotated[str, typer.Argument(metavar="CANDIDATE", help="Id or number of a candidate.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON lines.")]


def get_search(connection: Connection, search_id: str) -> pb.Search:
    return connection.controller.get_search(pb.GetSearchRequest(search_id=search_id)).search


def list_candidates(connection: Connection, search_id: str) -> Iterator[pb.CandidateSummary]:
    """All candidates in order of creation, page by page."""
    request = pb.ListCandidatesRequest(search_id=search_id, page_size=PAGE)
    return entries(connection.controller.list_candidates, request)


def get_notebook(connection: Connection, search_id: str) -> pb.GetNotebookResponse:
    return connection.controller.get_notebook(pb.GetNotebookRequest(search_id=search_id))


def suite_files(connection: Connection, search: pb.Search) -> verifier_pb2.SuiteFiles | None:
    """The suite that the search brought along, if it did."""
    if not search.spec.HasField("suite_files"):
        return None
    request = pb.GetSuiteFilesRequest(search_id=search.search_id)
    return connection.controller.get_suite_files(request).suite_files


def get_candidate(connection: Connection, search_id: str, candidate: str) -> pb.Candidate:
    """A candidate by its id, by its number, or ``best``. Raises NotFound if the search has no such one."""
    candidate_id = candidate
    if candidate == "best":
        found = get_search(connection, search_id)
        if not found.HasField("best"):
            raise NotFound(f"search {search_id} has no candidate with a score yet")
        candidate_id = (found.winner if found.HasField("winner") else found.best).candidate_id
    elif candidate.isdigit():
        numbered = {c.number: c.candidate_id for c in list_candidates(connection, search_id)}
        if int(candidate) not in numbered:
            raise NotFound(f"search {search_id} has no candidate {candidate}; it has {len(numbered)}, from 0")
        candidate_id = numbered[int(candidate)]
    return connection.controller.get_candidate(pb.GetCandidateRequest(candidate_id=candidate_id)).candidate
