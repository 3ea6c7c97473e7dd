"""Faust apps and the batched transport that they share."""
