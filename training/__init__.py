"""Jobs that read sample tables and write models."""
