"""A run's folder, checkpoints, trackers and the live line."""
