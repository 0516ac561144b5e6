"""Speed and memory: one question a file, ours and a plainly written reference in one run."""
