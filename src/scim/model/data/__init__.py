"""From the user's studies to what training reads."""
