"""Runs, records, notebooks, verdicts and the book that is made from them."""
