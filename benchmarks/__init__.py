"""What CI and users run to compare. `python -m benchmarks [--quick] [NAME…]`.

Each benchmark is a file with one function `run(scale) -> Iterable[Figure]`, listed in
`__main__.BENCHMARKS`. Wall times are printed and stored, never judged: only a `Figure` with an
`at_most` bound can fail, which is a ratio of two things timed in the same run, a count, memory, or
processor time that leaves room for a slow machine.
"""
