"""The session tunnel without its sockets. Pure: no input, output or clock."""
