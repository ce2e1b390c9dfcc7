"""What CI and users run to compare. `python -m benchmarks [--quick] [NAME…]`.

Each benchmark is a file with one function `run(scale) -> Iterable[Figure]`, listed in
`__main__.BENCHMARKS`. Absolute times are printed and stored, never judged: only a `Figure` with an
`at_most` bound, which is a ratio of two things timed in the same run, can fail.
"""
