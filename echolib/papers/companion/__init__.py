"""Pages of the book that are no table or figure of a paper."""
