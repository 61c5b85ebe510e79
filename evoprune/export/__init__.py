"""Networks on their way out: files that run without evoprune, each checked before it is kept."""
