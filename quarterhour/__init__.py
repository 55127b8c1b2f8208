"""Command line, settings, local parts and traffic. May import every other package; is imported by none."""
