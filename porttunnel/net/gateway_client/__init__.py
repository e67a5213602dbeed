"""What instances and devices have in common: how they reach the gateway, and bodies that flow."""
