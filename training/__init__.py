"""Jobs that read sample tables and write models."""

import os
import warnings

# How long a thread of torch's OpenMP spins for the others before it sleeps; read when torch is
# imported. A small model's step is thousands of short parallel loops: without spinning, waking up
# costs 40% of it, and with GNU's default of 300,000 rounds two threads on a busy machine take
# seconds for it (training/LOG.md).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")
# Training reports to nobody. Read when huggingface_hub is imported, hence set before anything is.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
# A bar per file read or written would bury ours.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
# TRL names the vLLM versions that its rollouts were tried with, once per module that it imports.
warnings.filterwarnings("ignore", message="TRL currently supports vLLM")
