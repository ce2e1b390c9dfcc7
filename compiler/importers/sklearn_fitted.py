"""What readers of scikit-learn estimators share: the list of what is known, fitted values."""

from __future__ import annotations

from typing import Any

from ..errors import ImportModelError, UnsupportedOpError

WAYS_OUT = (
    "known are linear models (LogisticRegression, LinearSVC, SGDClassifier, RidgeClassifier, "
    "Perceptron, LinearRegression, Ridge, Lasso, ElasticNet), MLPClassifier and MLPRegressor, "
    "decision trees, random forests, extra trees and gradient boosting, alone or in a Pipeline "
    "after StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler, PCA or Normalizer"
)


def fitted(model: Any, attribute: str, name: str) -> Any:
    """The attribute that `fit` sets; ImportModelError where it is not there."""
    if not hasattr(model, attribute):
        raise ImportModelError(f"{name}: {type(model).__name__} is not fitted; call fit first")
    return getattr(model, attribute)


def unknown(name: str, what: str) -> UnsupportedOpError:
    """The error for a part that the graph has no form for."""
    return UnsupportedOpError(f"{name}: {what} is unknown; {WAYS_OUT}")
