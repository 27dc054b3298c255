"""Published weights in the formats they are published in, loaded strictly and offline. Imports nothing by itself."""
