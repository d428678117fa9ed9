"""Programs that make data in the style of published sets, from a seed; they read no file."""

MOST_GENERATED = 10_000_000  # sequences; a hundred times what is published
