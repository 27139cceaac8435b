-- name: insert_orders
-- All orders of a transaction, rejected ones too. Error 1062 tells that one of them is known already.
INSERT INTO orders (order_id, customer_id, status, reason, rejected_product_id, total_cents, fingerprint, placed_at)
SELECT UNHEX(order_id), customer_id, status, reason, rejected_product_id, total_cents, UNHEX(fingerprint),
       COALESCE(placed_at, UTC_TIMESTAMP(6))
  FROM JSON_TABLE(%(orders)s, '$[*]' COLUMNS (
         order_id            CHAR(32)        PATH '$[0]',
         customer_id         BIGINT UNSIGNED PATH '$[1]',
         status              VARCHAR(16)     PATH '$[2]',
         reason              VARCHAR(32)     PATH '$[3]',
         rejected_product_id BIGINT UNSIGNED PATH '$[4]',
         total_cents         BIGINT UNSIGNED PATH '$[5]',
         fingerprint         CHAR(32)        PATH '$[6]',
         placed_at           DATETIME(6)     PATH '$[7]'
       )) AS decided

-- name: insert_order_lines
-- The lines of the orders that were placed, at the price of this moment.
INSERT INTO order_lines (order_id, product_id, quantity, unit_price_cents)
SELECT UNHEX(order_id), product_id, quantity, unit_price_cents
  FROM JSON_TABLE(%(lines)s, '$[*]' COLUMNS (
         order_id CHAR(32) PATH '$[0]',
         NESTED PATH '$[1][*]' COLUMNS (
           product_id       BIGINT UNSIGNED PATH '$[0]',
           quantity         INT UNSIGNED    PATH '$[1]',
           unit_price_cents INT UNSIGNED    PATH '$[2]'
         )
       )) AS sold

-- name: set_order_status
-- The order row is locked and its old status known.
UPDATE orders SET status = %(status)s WHERE order_id = UNHEX(%(order_id)s)

-- name: known_orders
-- What became of orders that were seen before (a snapshot read, outside of any transaction).
WITH wanted AS (
  SELECT order_id FROM JSON_TABLE(%(order_ids)s, '$[*]' COLUMNS (order_id CHAR(32) PATH '$')) AS ids
)
SELECT LOWER(HEX(orders.order_id)) AS order_id, orders.customer_id, orders.status, orders.reason,
       orders.rejected_product_id, orders.total_cents, LOWER(HEX(orders.fingerprint)) AS fingerprint
  FROM wanted STRAIGHT_JOIN orders FORCE INDEX (PRIMARY) ON orders.order_id = UNHEX(wanted.order_id)

-- name: lines_of_order
-- What an order took, by ascending product (a snapshot read: lines never change).
SELECT product_id, quantity
  FROM order_lines
 WHERE order_id = UNHEX(%(order_id)s)
 ORDER BY product_id

-- name: count_outcomes
-- How many orders have which outcome (a snapshot read).
SELECT status, reason, COUNT(*) AS orders FROM orders GROUP BY status, reason
