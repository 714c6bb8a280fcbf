"""Feature networks of the metrics: where their weights come from, and what each makes of a clip."""
