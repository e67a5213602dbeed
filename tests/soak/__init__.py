"""Hours of faults in minutes: ``python -m tests.soak``."""
