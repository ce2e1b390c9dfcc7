"""A data set and budgets in, a Pareto front out."""
