-- Remove finished orders, and keep what they came to. Deletes go by primary keys of rows that are locked or
-- belong to a locked order.

-- name: old_orders
-- The orders of a page that are old by what their maker said, and by when they came (a snapshot read).
SELECT LOWER(HEX(order_id)) AS order_id, status
  FROM orders
 WHERE order_id > UNHEX(%(after)s) AND order_id <= UNHEX(%(last)s)
   AND placed_at < %(before)s AND recorded_at < %(before)s
 ORDER BY orders.order_id

-- name: sold_by_orders
-- How much these orders took of each product (a snapshot read, made after their rows were locked: lines never change).
WITH wanted AS (
  SELECT order_id FROM JSON_TABLE(%(order_ids)s, '$[*]' COLUMNS (order_id CHAR(32) PATH '$')) AS ids
)
SELECT order_lines.product_id, CAST(SUM(order_lines.quantity) AS UNSIGNED) AS quantity
  FROM wanted STRAIGHT_JOIN order_lines FORCE INDEX (PRIMARY) ON order_lines.order_id = UNHEX(wanted.order_id)
 GROUP BY order_lines.product_id

-- name: orders_with_events
-- Those that have an event in the outbox (a snapshot read, made after the order rows were locked: there come no more).
WITH wanted AS (
  SELECT order_id FROM JSON_TABLE(%(order_ids)s, '$[*]' COLUMNS (order_id CHAR(32) PATH '$')) AS ids
)
SELECT DISTINCT wanted.order_id
  FROM wanted STRAIGHT_JOIN outbox FORCE INDEX (outbox_of_order) ON outbox.order_id = UNHEX(wanted.order_id)

-- name: orders_with_letters
-- The job ids of those that a dead letter may place again (a snapshot read).
WITH wanted AS (
  SELECT job_id FROM JSON_TABLE(%(job_ids)s, '$[*]' COLUMNS (job_id CHAR(36) PATH '$')) AS ids
)
SELECT DISTINCT wanted.job_id
  FROM wanted STRAIGHT_JOIN dead_letters FORCE INDEX (PRIMARY) ON dead_letters.job_id = CAST(wanted.job_id AS BINARY)

-- name: add_purged_sales
-- Keeps what was sold; only a purge writes here, so that no order waits for it.
INSERT INTO purged_sales (product_id, quantity)
SELECT product_id, quantity
  FROM JSON_TABLE(%(sold)s, '$[*]' COLUMNS (
         product_id BIGINT UNSIGNED PATH '$.product_id',
         quantity   BIGINT UNSIGNED PATH '$.quantity'
       )) AS sold
    ON DUPLICATE KEY UPDATE quantity = purged_sales.quantity + sold.quantity

-- name: add_purged_totals
-- Keeps what customers owe.
INSERT INTO purged_totals (customer_id, total_cents)
SELECT customer_id, total_cents
  FROM JSON_TABLE(%(owed)s, '$[*]' COLUMNS (
         customer_id BIGINT UNSIGNED PATH '$.customer_id',
         total_cents BIGINT UNSIGNED PATH '$.total_cents'
       )) AS owed
    ON DUPLICATE KEY UPDATE total_cents = purged_totals.total_cents + owed.total_cents

-- name: delete_order_lines
-- Before the orders that they point at.
DELETE order_lines
  FROM JSON_TABLE(%(order_ids)s, '$[*]' COLUMNS (order_id CHAR(32) PATH '$')) AS ids
       STRAIGHT_JOIN order_lines FORCE INDEX (PRIMARY) ON order_lines.order_id = UNHEX(ids.order_id)

-- name: delete_orders
-- The rows that this transaction has locked.
DELETE orders
  FROM JSON_TABLE(%(order_ids)s, '$[*]' COLUMNS (order_id CHAR(32) PATH '$')) AS ids
       STRAIGHT_JOIN orders FORCE INDEX (PRIMARY) ON orders.order_id = UNHEX(ids.order_id)
