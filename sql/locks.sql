-- Every locking read there is. The one lock order: customers, stock, orders, events, each by ascending id; then staged
-- orders, for which nobody waits: a service may hold one for as long as it likes.
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

-- name: lock_events
-- Those of these events that are still in the outbox, and that no other relay has in hand. It waits for nobody.
WITH wanted AS (
  SELECT event_id FROM JSON_TABLE(%(event_ids)s, '$[*]' COLUMNS (event_id BIGINT UNSIGNED PATH '$')) AS ids
)
SELECT COUNT(*) AS found, JSON_ARRAYAGG(JSON_ARRAY(outbox.event_id, HEX(outbox.order_id), outbox.kind, JSON_EXTRACT(outbox.body, '$'), outbox.recorded_at, outbox.traceparent)) AS locked
  FROM wanted STRAIGHT_JOIN outbox FORCE INDEX (PRIMARY) ON outbox.event_id = wanted.event_id
   FOR UPDATE SKIP LOCKED

-- name: lock_staged
-- The oldest orders of `intake` that nobody has enqueued, and that no other worker takes over at this moment.
SELECT LOWER(HEX(order_id)) AS order_id, request
  FROM intake FORCE INDEX (intake_by_enqueued)
 WHERE enqueued_at IS NULL
 ORDER BY staged_at
 LIMIT %(size)s
   FOR UPDATE SKIP LOCKED

-- name: lock_overdue
-- Those that were enqueued so long ago that they should have an outcome by now.
-- A time that is yet to come is nobody's but the stager's: it must hide no order.
SELECT LOWER(HEX(order_id)) AS order_id, request
  FROM intake FORCE INDEX (intake_by_enqueued)
 WHERE enqueued_at < UTC_TIMESTAMP(6) - INTERVAL %(overdue_seconds)s SECOND
    OR enqueued_at > UTC_TIMESTAMP(6) + INTERVAL %(overdue_seconds)s SECOND
 ORDER BY enqueued_at, staged_at
 LIMIT %(size)s
   FOR UPDATE SKIP LOCKED

-- name: free_staged
-- Those of these orders that are still staged and that nobody holds; the others are passed over.
WITH wanted AS (
  SELECT order_id FROM JSON_TABLE(%(order_ids)s, '$[*]' COLUMNS (order_id CHAR(32) PATH '$')) AS ids
)
SELECT COUNT(*) AS found, JSON_ARRAYAGG(JSON_ARRAY(LOWER(HEX(intake.order_id)))) AS locked
  FROM wanted STRAIGHT_JOIN intake FORCE INDEX (PRIMARY) ON intake.order_id = UNHEX(wanted.order_id)
   FOR UPDATE SKIP LOCKED

-- name: free_requests
-- The same with what they ask for, a row each: together they may be larger than one array can be.
WITH wanted AS (
  SELECT order_id FROM JSON_TABLE(%(order_ids)s, '$[*]' COLUMNS (order_id CHAR(32) PATH '$')) AS ids
)
SELECT LOWER(HEX(intake.order_id)) AS order_id, intake.request
  FROM wanted STRAIGHT_JOIN intake FORCE INDEX (PRIMARY) ON intake.order_id = UNHEX(wanted.order_id)
   FOR UPDATE SKIP LOCKED
