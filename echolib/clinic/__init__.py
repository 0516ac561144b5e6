"""From anybody's echo clip to masks, end-diastole and end-systole, ejection fraction and a report."""
