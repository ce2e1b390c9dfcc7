"""What can be refused before a second is spent on measuring and training."""

from __future__ import annotations

from edgekiln.compiler.gate import effective_budget
from edgekiln.targets import Target

from .errors import BudgetError, SearchError
from .ledger import read_own
from .mlp_space import space_for
from .result import SearchRequest, search_id


def preflight(request: SearchRequest) -> None:
    """Check a request whose targets need no cost tables yet.

    Raises:
        SearchError: the request makes no sense, or names a target twice.
        SpaceError: no space covers the data's shape.
        BudgetError: a budget that the target's engine alone is over.
        LedgerError: the folder holds another search, or a damaged ledger.
        CompileError: an energy budget of a target whose profile does not say what it draws.
    """
    request.check()
    ids = [target.id for target in request.targets]
    if not ids or len(set(ids)) < len(ids):
        raise SearchError("a search needs at least one target, and each one once")
    for target in request.targets:
        _check_room(target)
    spec = request.dataset.contract
    space_for(spec.input.shape, len(spec.classes))
    read_own(request.out / "ledger.jsonl", search_id(request))


def _check_room(target: Target) -> None:
    """The engine alone must leave room for a model."""
    budget, engine = effective_budget(target, None), target.runtime
    for what, limit, taken in (
        ("RAM", budget.ram_bytes, engine.ram_overhead),
        ("flash", budget.flash_bytes, engine.flash_overhead),
    ):
        if limit is not None and limit <= taken:
            raise BudgetError(
                f"target '{target.id}': a {what} budget of {limit} bytes leaves no room for any "
                f"model: its runtime {engine.name} alone takes {taken}; raise the budget or "
                "choose a larger target"
            )
