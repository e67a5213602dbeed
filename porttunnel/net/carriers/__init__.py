"""What carries packets: one file for each way to move bytes."""
