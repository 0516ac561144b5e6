"""What is to be computed: plan, cost, order, jobs, devices."""
