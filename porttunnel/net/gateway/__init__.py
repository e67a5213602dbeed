"""The gateway in a server: accounts, REST, and the rules for its broker. It can't decrypt."""
