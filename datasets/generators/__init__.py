"""Programs that make data in the style of published sets, from a seed; they read no file."""
