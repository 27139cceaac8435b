-- Every locking read of the shop. The one lock order: customers, stock, orders, each by ascending id; then what the
-- machinery locks (sql/locks.sql).
-- JSON_TABLE gives the rows in the order of the array, and STRAIGHT_JOIN with FORCE INDEX (PRIMARY) locks
-- them one by one in that order, whatever the optimizer's statistics say. They come back as one JSON array:
-- for a driver written in Python a thousand rows cost more than to lock them.

-- name: lock_customers
-- The customers who order or get money back, locked in the order of the array.
WITH wanted AS (
  SELECT customer_id FROM JSON_TABLE(%(customer_ids)s, '$[*]' COLUMNS (customer_id BIGINT UNSIGNED PATH '$')) AS ids
)
SELECT COUNT(*) AS found, JSON_ARRAYAGG(JSON_ARRAY(customers.customer_id, customers.credit_limit_cents, customers.balance_cents)) AS locked
  FROM wanted STRAIGHT_JOIN customers FORCE INDEX (PRIMARY) ON customers.customer_id = wanted.customer_id
   FOR UPDATE

-- name: lock_stock
-- The products that are taken from or given back to, locked in the order of the array.
WITH wanted AS (
  SELECT product_id FROM JSON_TABLE(%(product_ids)s, '$[*]' COLUMNS (product_id BIGINT UNSIGNED PATH '$')) AS ids
)
SELECT COUNT(*) AS found, JSON_ARRAYAGG(JSON_ARRAY(stock.product_id, stock.price_cents, stock.available)) AS locked
  FROM wanted STRAIGHT_JOIN stock FORCE INDEX (PRIMARY) ON stock.product_id = wanted.product_id
   FOR UPDATE

-- name: free_customers
-- Those of the customers whose rows nobody holds; the others are passed over.
-- A deadlock report may cut a statement before its end: `probed` tells it from one that waits.
WITH probed AS (
  SELECT customer_id FROM JSON_TABLE(%(customer_ids)s, '$[*]' COLUMNS (customer_id BIGINT UNSIGNED PATH '$')) AS ids
)
SELECT COUNT(*) AS found, JSON_ARRAYAGG(JSON_ARRAY(customers.customer_id)) AS locked
  FROM probed STRAIGHT_JOIN customers FORCE INDEX (PRIMARY) ON customers.customer_id = probed.customer_id
   FOR UPDATE SKIP LOCKED

-- name: free_stock
-- Those of the products whose rows nobody holds; the others are passed over.
WITH probed AS (
  SELECT product_id FROM JSON_TABLE(%(product_ids)s, '$[*]' COLUMNS (product_id BIGINT UNSIGNED PATH '$')) AS ids
)
SELECT COUNT(*) AS found, JSON_ARRAYAGG(JSON_ARRAY(stock.product_id)) AS locked
  FROM probed STRAIGHT_JOIN stock FORCE INDEX (PRIMARY) ON stock.product_id = probed.product_id
   FOR UPDATE SKIP LOCKED

-- name: lock_order
-- One order whose status is about to change; it is known to exist (a missing row would lock the gap).
SELECT status
  FROM orders
 WHERE order_id = UNHEX(%(order_id)s)
   FOR UPDATE

-- name: lock_orders
-- Orders that are about to be removed, locked in the order of the array.
WITH wanted AS (
  SELECT order_id FROM JSON_TABLE(%(order_ids)s, '$[*]' COLUMNS (order_id CHAR(32) PATH '$')) AS ids
)
SELECT LOWER(HEX(orders.order_id)) AS order_id, orders.customer_id, orders.status, orders.total_cents
  FROM wanted STRAIGHT_JOIN orders FORCE INDEX (PRIMARY) ON orders.order_id = UNHEX(wanted.order_id)
   FOR UPDATE
