"""Jobs that read models and tables and write lists."""
