"""Files: read, written whole or not at all, and overwritten only where nothing is lost."""
