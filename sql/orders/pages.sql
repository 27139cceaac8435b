-- All orders, a page at a time in the order of their ids: snapshot reads, which lock nothing.

-- name: page_of_orders
-- How many orders the next page has (fewer than `size`: it is the last one), and the id that ends it.
SELECT COUNT(*) AS orders, LOWER(HEX(MAX(order_id))) AS last_order_id
  FROM (
    SELECT order_id FROM orders WHERE order_id > UNHEX(%(after)s) ORDER BY order_id LIMIT %(size)s
  ) AS page

-- name: about_how_many_orders
-- The server's own estimate, which costs nothing: for a progress bar.
SELECT TABLE_ROWS AS orders
  FROM information_schema.TABLES
 WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'orders'
