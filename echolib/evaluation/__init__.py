"""What a trained network is worth: scores, intervals, volumes, consistency, cost, and the baseline to beat."""
