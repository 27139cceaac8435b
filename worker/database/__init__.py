"""The only folder that knows aiomysql and tenacity."""
