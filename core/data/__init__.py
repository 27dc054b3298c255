"""The data set stages: prepare, caption (360TF), flow, encode, and the strict reader of clips CSVs."""
