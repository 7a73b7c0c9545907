"""From a recipe to a finished run: plan, cache, run folder, pipeline and results."""
