"""Errors of the search room.

SearchError
├── SpaceError        the data has a shape that no space here covers
├── BudgetError       no candidate of the space keeps the budget of any target
├── LedgerError       the ledger of an earlier run cannot be continued
└── TrainingError     no candidate could be trained
"""

from __future__ import annotations


class SearchError(Exception):
    """Root of everything this room raises; its text is one line for the user."""


class SpaceError(SearchError):
    """The data has a shape that no space here covers."""


class BudgetError(SearchError):
    """No candidate of the space keeps the budget of any target."""


class LedgerError(SearchError):
    """The ledger of an earlier run cannot be continued."""


class TrainingError(SearchError):
    """No candidate could be trained."""
