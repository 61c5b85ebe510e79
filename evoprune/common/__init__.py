"""What every folder may use: errors, seeds, files, progress, hardware."""
