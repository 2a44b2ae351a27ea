"""Parts of the workflows of pipelines: their sources, updates, new items and cost."""
