"""What happens inside one transaction: no driver, no queue, no clock, no settings."""
