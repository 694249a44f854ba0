"""Examples: scripts, and whole systems in packages of their own."""
