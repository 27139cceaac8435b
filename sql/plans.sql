-- What `lockstep explain` asks the server, besides the plans themselves.

-- name: example_ids
-- Ids that are there, or NULL: the plan for a row that is not there says little.
SELECT (SELECT MIN(product_id) FROM products) AS product_id,
       (SELECT customer_id FROM orders WHERE order_id = (SELECT MIN(order_id) FROM orders)) AS customer_id,
       (SELECT LOWER(HEX(MIN(order_id))) FROM orders) AS order_id,
       (SELECT LOWER(HEX(MIN(review_id))) FROM reviews) AS review_id,
       (SELECT LOWER(HEX(MIN(restock_id))) FROM restocks) AS restock_id

-- name: rows_read
-- How many rows this session has read so far: the storage engine counts them, whatever a plan says.
SHOW SESSION STATUS WHERE Variable_name REGEXP '^Handler_read_'
