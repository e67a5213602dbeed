"""MQTT 3.1.1 and 5 without their sockets. Pure: no input, output or clock."""
