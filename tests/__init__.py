"""The tests mirror the package: tests/keys/test_cpace.py is for porttunnel/keys/cpace.py."""
