"""What runs in the user's process; the standard library only."""
