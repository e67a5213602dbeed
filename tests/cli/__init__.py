"""What people type, without real programs."""
