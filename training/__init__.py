"""Jobs that read sample tables and write models."""

import os

# Two threads on a busy machine otherwise spin for each other: seconds a step instead of a quarter.
# Read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Training reports to nobody. Read when huggingface_hub is imported, hence set before anything is.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
# A bar per file read or written would bury ours.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
