"""Releases, rollouts, evidence, alerts, audit and the dashboard: the server's side of the wire.

`folder` and `repository` hold keys and signed metadata, `broker` and `link` the wire, `ingest` and
`blocks` talk with devices, `store` remembers; `evidence`, `exposures`, `rollout`, `alerts` decide
without touching anything, `engine` acts. Nothing is imported here: the command line starts fast.
"""
