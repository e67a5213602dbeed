"""How fast, beside whom: docs/benchmarks."""
