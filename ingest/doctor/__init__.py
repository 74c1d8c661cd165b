"""Doctor: examine an installation, line by line, and name the remedy of each fault."""
