"""The production CTR model: trained on displayed hints, judged on later days."""
