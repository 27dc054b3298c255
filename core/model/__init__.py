"""360DVD itself: the adapter, the 360 enhancement techniques, the base and the pipeline. Imports nothing by itself."""
