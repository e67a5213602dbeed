"""Real programs, started as users start them, on free loopback ports."""
