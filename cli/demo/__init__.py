"""The whole loop once, with real parts: `run.py` calls one stage after the other.

`model_stages.py` makes the models (targets, search, compile), `fleet_stages.py` ships and watches
them (release, serve, rollout, drift, a bad release), `streams.py` makes what the devices see,
`result.py` is what comes out, `report.py` draws it.
"""
