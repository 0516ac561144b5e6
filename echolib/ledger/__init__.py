"""What was computed: workspace, records, runs, evaluations, committed results, provenance."""
