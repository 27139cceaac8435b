-- A long history of orders, made by the server itself. The baskets are in temporary tables; every pass over them is
-- one transaction, and inserts in the order of the primary keys. An order's number gives its id (UUID version 7) and time.

-- name: any_order
-- Whether there is anything to disturb.
SELECT 1 FROM orders LIMIT 1

-- name: make_basket_table
-- What every pass repeats. `status` is what has become of such orders since.
CREATE TEMPORARY TABLE seed_baskets (
  basket INT UNSIGNED NOT NULL PRIMARY KEY, customer_id BIGINT UNSIGNED NOT NULL,
  status VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  total_cents BIGINT UNSIGNED NOT NULL, fingerprint BINARY(16) NOT NULL
) ENGINE = InnoDB

-- name: make_line_table
-- Their lines.
CREATE TEMPORARY TABLE seed_lines (
  basket INT UNSIGNED NOT NULL, product_id BIGINT UNSIGNED NOT NULL,
  quantity INT UNSIGNED NOT NULL, unit_price_cents INT UNSIGNED NOT NULL,
  PRIMARY KEY (basket, product_id)
) ENGINE = InnoDB

-- name: add_baskets
-- The baskets, numbered from 0.
INSERT INTO seed_baskets
SELECT basket, customer_id, status, total_cents, UNHEX(fingerprint)
  FROM JSON_TABLE(%(baskets)s, '$[*]' COLUMNS (
         basket INT UNSIGNED PATH '$.basket', customer_id BIGINT UNSIGNED PATH '$.customer_id',
         status VARCHAR(16) PATH '$.status', total_cents BIGINT UNSIGNED PATH '$.total_cents',
         fingerprint CHAR(32) PATH '$.fingerprint'
       )) AS listed

-- name: add_basket_lines
-- Their lines, none for a basket that is rejected.
INSERT INTO seed_lines
SELECT basket, product_id, quantity, unit_price_cents
  FROM JSON_TABLE(%(lines)s, '$[*]' COLUMNS (
         basket INT UNSIGNED PATH '$.basket', product_id BIGINT UNSIGNED PATH '$.product_id',
         quantity INT UNSIGNED PATH '$.quantity', unit_price_cents INT UNSIGNED PATH '$.unit_price_cents'
       )) AS listed

-- name: trust_the_references
-- The lines of a pass follow their orders in the same transaction: no need to look for each.
SET SESSION foreign_key_checks = 0, unique_checks = 0

-- name: seed_orders
-- The orders of a pass that begins with order number `first`, each half a minute after the one before.
INSERT INTO orders
       (order_id, customer_id, status, reason, total_cents, fingerprint, placed_at, recorded_at)
SELECT UNHEX(CONCAT(LPAD(HEX(1577836800000 + 30000 * (%(first)s + basket)), 12, '0'), '7',
                    LPAD(HEX(basket), 3, '0'), '8', LEFT(SHA2(%(first)s + basket, 256), 15))),
       customer_id, status, IF(status = 'rejected', 'insufficient_stock', NULL), total_cents, fingerprint,
       '2020-01-01' + INTERVAL 30 * (%(first)s + basket) SECOND,
       '2020-01-01' + INTERVAL 30 * (%(first)s + basket) SECOND
  FROM seed_baskets
 WHERE basket < %(baskets)s
 ORDER BY basket

-- name: seed_order_lines
-- Their lines.
INSERT INTO order_lines (order_id, product_id, quantity, unit_price_cents)
SELECT UNHEX(CONCAT(LPAD(HEX(1577836800000 + 30000 * (%(first)s + basket)), 12, '0'), '7',
                    LPAD(HEX(basket), 3, '0'), '8', LEFT(SHA2(%(first)s + basket, 256), 15))),
       product_id, quantity, unit_price_cents
  FROM seed_lines
 WHERE basket < %(baskets)s
 ORDER BY basket, product_id

-- name: restock_what_was_sold
-- So much came in as all passes took (`passes` whole ones, and the first `baskets` baskets once more).
INSERT INTO restocks (restock_id, product_id, quantity, restocked_at)
SELECT UNHEX(LEFT(SHA2(CONCAT('seed ', product_id), 256), 32)), product_id,
       SUM(quantity * (%(passes)s + (basket < %(baskets)s))) AS sold, '2020-01-01'
  FROM seed_lines JOIN seed_baskets USING (basket)
 WHERE status IN ('placed', 'shipped')
 GROUP BY product_id
HAVING sold > 0

-- name: add_to_balances
-- What they came to is owed; limits rise by as much.
UPDATE customers
  JOIN (
    SELECT customer_id, SUM(total_cents * (%(passes)s + (basket < %(baskets)s))) AS owed_cents
      FROM seed_baskets
     WHERE status IN ('placed', 'shipped')
     GROUP BY customer_id
  ) AS owing ON owing.customer_id = customers.customer_id
   SET customers.credit_limit_cents = customers.credit_limit_cents + owing.owed_cents,
       customers.balance_cents = customers.balance_cents + owing.owed_cents

-- name: count_published_events
-- All of their events were published long ago.
INSERT INTO published_events (kind, events)
SELECT kind, SUM(%(passes)s + (basket < %(baskets)s)) AS published
  FROM seed_baskets
  JOIN (
    SELECT 'rejected' AS status, 'order.rejected' AS kind
     UNION ALL SELECT 'placed', 'order.placed'
     UNION ALL SELECT 'cancelled', 'order.placed'
     UNION ALL SELECT 'cancelled', 'order.cancelled'
     UNION ALL SELECT 'shipped', 'order.placed'
     UNION ALL SELECT 'shipped', 'order.shipped'
  ) AS happened USING (status)
 GROUP BY kind
HAVING published > 0
