"""The methods as short recipes over core, the prompt sets, and generation. Imports nothing by itself."""
