"""Where jobs run. Knows no job."""
