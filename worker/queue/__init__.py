"""With `worker.client` and `worker.main`, all that knows arq and redis."""
