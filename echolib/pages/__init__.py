"""How results are shown: notebooks, tables, verdicts, the scorecard, the site."""
