"""The commands of `worker.cli`, which imports each when it is called."""
