"""The books against an independent recomputation: simple code over the raw topic, sharing nothing with the stages."""
