"""List SFT: context in, ordered list of queries out (method §3)."""
