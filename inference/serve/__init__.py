"""The request path of hints: recall → merge → dedupe → rank → cut. No lake."""
