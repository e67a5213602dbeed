"""Who somebody is, and what only they know. Pure: no input, output or clock."""
