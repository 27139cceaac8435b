"""Over HTTP: the storefront, the door for orders, and what happens at this moment. The only room that knows aiohttp."""
