-- Every invariant of the tables. `lockstep audit` runs all of this in one snapshot, which locks nothing, so it may
-- run beside working workers. No statement is long: large tables are read a page at a time, by primary key.
-- A statement with the name of an invariant tells what breaks it: how many rows, and one of them. The other
-- statements are rows to add up; jobs/audit.py compares the sums.

-- name: stock_rows
-- What is available.
SELECT product_id, available
  FROM stock
 WHERE product_id > %(after)s
 ORDER BY product_id
 LIMIT %(size)s

-- name: restock_rows
-- What came in.
SELECT LOWER(HEX(restock_id)) AS restock_id, product_id, quantity
  FROM restocks
 WHERE restock_id > UNHEX(%(after)s)
 ORDER BY restocks.restock_id
 LIMIT %(size)s

-- name: purged_sales_rows
-- What purged orders took.
SELECT product_id, quantity
  FROM purged_sales
 WHERE product_id > %(after)s
 ORDER BY product_id
 LIMIT %(size)s

-- name: product_rows
-- How many reviews a product has, by its own count, and the sum of their ratings.
SELECT product_id, review_count, rating_total
  FROM products
 WHERE product_id > %(after)s
 ORDER BY product_id
 LIMIT %(size)s

-- name: review_rows
-- The reviews themselves.
SELECT LOWER(HEX(review_id)) AS review_id, product_id, rating
  FROM reviews
 WHERE review_id > UNHEX(%(after)s)
 ORDER BY reviews.review_id
 LIMIT %(size)s

-- name: customer_rows
-- What customers owe.
SELECT customer_id, balance_cents
  FROM customers
 WHERE customer_id > %(after)s
 ORDER BY customer_id
 LIMIT %(size)s

-- name: purged_totals_rows
-- What they owe for purged orders.
SELECT customer_id, total_cents
  FROM purged_totals
 WHERE customer_id > %(after)s
 ORDER BY customer_id
 LIMIT %(size)s

-- name: published_event_rows
-- How many events have left the outbox, of orders that are there.
SELECT kind, events
  FROM published_events

-- name: owed_by_page
-- What the orders of a page add to balances. Whom a rejected order names does not matter.
SELECT customer_id, COUNT(*) AS order_count, HEX(MIN(order_id)) AS first_order_id,
       CAST(SUM(IF(status IN ('placed', 'shipped'), total_cents, 0)) AS UNSIGNED) AS owed_cents
  FROM orders
 WHERE order_id > UNHEX(%(after)s) AND order_id <= UNHEX(%(last)s) AND status <> 'rejected'
 GROUP BY customer_id

-- name: taken_by_page
-- What the orders of a page took from stock.
SELECT order_lines.product_id, COUNT(*) AS line_count, HEX(MIN(order_lines.order_id)) AS first_order_id,
       CAST(SUM(IF(orders.status IN ('placed', 'shipped'), order_lines.quantity, 0)) AS UNSIGNED) AS quantity
  FROM orders JOIN order_lines ON order_lines.order_id = orders.order_id
 WHERE orders.order_id > UNHEX(%(after)s) AND orders.order_id <= UNHEX(%(last)s)
 GROUP BY order_lines.product_id

-- name: orders_by_page
-- How many orders of a page have which status: what events there must be.
SELECT status, COUNT(*) AS orders
  FROM orders
 WHERE order_id > UNHEX(%(after)s) AND order_id <= UNHEX(%(last)s)
 GROUP BY status

-- name: events_by_page
-- How many of their events wait to be published.
SELECT kind, COUNT(*) AS events
  FROM outbox
 WHERE order_id > UNHEX(%(after)s) AND order_id <= UNHEX(%(last)s)
 GROUP BY kind

-- name: totals_add_up
-- An order that was placed has lines, and its total is their sum; a rejected one has none and costs nothing.
SELECT COUNT(*) AS violations,
       MIN(CONCAT('order ', order_id, ': ', status, ', total ', total_cents, ', ', line_count, ' lines of ', sold_cents)) AS example
  FROM (
    SELECT HEX(orders.order_id) AS order_id, orders.status, orders.total_cents,
           COUNT(order_lines.product_id) AS line_count,
           COALESCE(SUM(order_lines.quantity * order_lines.unit_price_cents), 0) AS sold_cents
      FROM orders LEFT JOIN order_lines ON order_lines.order_id = orders.order_id
     WHERE orders.order_id > UNHEX(%(after)s) AND orders.order_id <= UNHEX(%(last)s)
     GROUP BY orders.order_id
  ) AS counted
 WHERE total_cents <> sold_cents OR (status = 'rejected') <> (line_count = 0)

-- name: every_outcome_has_one_event
-- No event is in the outbox twice, and none for an order that is not there.
SELECT COUNT(*) AS violations, MIN(example) AS example
  FROM (
    SELECT CONCAT('order ', HEX(order_id), ': ', COUNT(*), ' events ', kind) AS example
      FROM outbox
     WHERE order_id > UNHEX(%(after)s) AND order_id <= UNHEX(%(last)s)
     GROUP BY outbox.order_id, kind
    HAVING COUNT(*) > 1
     UNION ALL
    SELECT CONCAT('event ', outbox.event_id, ': no order ', HEX(outbox.order_id))
      FROM outbox LEFT JOIN orders ON orders.order_id = outbox.order_id
     WHERE outbox.order_id > UNHEX(%(after)s) AND outbox.order_id <= UNHEX(%(last)s) AND orders.order_id IS NULL
  ) AS counted

-- name: stock_is_never_negative
-- Nothing is sold that is not there.
SELECT COUNT(*) AS violations, MIN(CONCAT('product ', product_id, ': available ', available)) AS example
  FROM stock
 WHERE available < 0

-- name: every_product_has_stock
-- The catalogue and the stock name the same products.
SELECT COUNT(*) AS violations, MIN(CONCAT('product ', product_id)) AS example
  FROM (
    SELECT product_id FROM products WHERE product_id NOT IN (SELECT product_id FROM stock)
     UNION ALL
    SELECT product_id FROM stock WHERE product_id NOT IN (SELECT product_id FROM products)
  ) AS alone

-- name: no_credit_limit_is_passed
-- Nobody owes more than they may.
SELECT COUNT(*) AS violations,
       MIN(CONCAT('customer ', customer_id, ': balance ', balance_cents, ', limit ', credit_limit_cents)) AS example
  FROM customers
 WHERE balance_cents > credit_limit_cents
