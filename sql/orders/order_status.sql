-- What the door over HTTP asks of orders: snapshot reads, outside of any transaction.

-- name: order_now
-- One order with its lines, or that it is staged. In one snapshot an order that moves from there to here is not missed.
SELECT LOWER(HEX(orders.order_id)) AS order_id, orders.customer_id, orders.status, orders.reason,
       orders.rejected_product_id, orders.total_cents, LOWER(HEX(orders.fingerprint)) AS fingerprint, orders.placed_at,
       (SELECT JSON_ARRAYAGG(JSON_ARRAY(order_lines.product_id, order_lines.quantity, order_lines.unit_price_cents))
          FROM order_lines
         WHERE order_lines.order_id = orders.order_id) AS bought,
       intake.order_id IS NOT NULL AS staged
  FROM (SELECT UNHEX(%(order_id)s) AS order_id) AS asked
       LEFT JOIN orders ON orders.order_id = asked.order_id
       LEFT JOIN intake ON intake.order_id = asked.order_id

-- name: staged_requests
-- What is staged under these ids.
WITH wanted AS (
  SELECT order_id FROM JSON_TABLE(%(order_ids)s, '$[*]' COLUMNS (order_id CHAR(32) PATH '$')) AS ids
)
SELECT LOWER(HEX(intake.order_id)) AS order_id, intake.request
  FROM wanted STRAIGHT_JOIN intake FORCE INDEX (PRIMARY) ON intake.order_id = UNHEX(wanted.order_id)
