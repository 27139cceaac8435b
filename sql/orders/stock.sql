-- name: move_stock
-- Adds each quantity (below zero: takes it) to a row that this transaction has locked.
UPDATE JSON_TABLE(%(moves)s, '$[*]' COLUMNS (
         product_id BIGINT UNSIGNED PATH '$[0]',
         quantity   BIGINT          PATH '$[1]'
       )) AS moved
       STRAIGHT_JOIN stock FORCE INDEX (PRIMARY) ON stock.product_id = moved.product_id
   SET stock.available = stock.available + moved.quantity

-- name: insert_restock
-- Stock that came in. Error 1062 tells that this restock is known already.
INSERT INTO restocks (restock_id, product_id, quantity, restocked_at)
VALUES (UNHEX(%(restock_id)s), %(product_id)s, %(quantity)s, UTC_TIMESTAMP(6))

-- name: known_restock
-- A restock that was seen before (a snapshot read, outside of any transaction).
SELECT product_id, quantity FROM restocks WHERE restock_id = UNHEX(%(restock_id)s)

-- name: add_products
-- The part of a catalogue that is new; what is there already is left as it is.
INSERT INTO products (product_id, name)
SELECT product_id, name
  FROM JSON_TABLE(%(products)s, '$[*]' COLUMNS (
         product_id BIGINT UNSIGNED PATH '$.product_id',
         name       VARCHAR(255)    CHARACTER SET utf8mb4 PATH '$.name'
       )) AS listed
    ON DUPLICATE KEY UPDATE product_id = products.product_id

-- name: product_names
-- What these products are called (a snapshot read).
-- A deadlock report may cut a statement before its end: `named` tells it from one that locks.
WITH named AS (
  SELECT product_id FROM JSON_TABLE(%(product_ids)s, '$[*]' COLUMNS (product_id BIGINT UNSIGNED PATH '$')) AS ids
)
SELECT products.product_id, products.name
  FROM named STRAIGHT_JOIN products FORCE INDEX (PRIMARY) ON products.product_id = named.product_id

-- name: any_product
-- Whether there is a catalogue at all.
SELECT EXISTS (SELECT 1 FROM products) AS found

-- name: add_stock
-- The first stock of products that are new.
INSERT INTO stock (product_id, price_cents, available)
SELECT product_id, price_cents, available
  FROM JSON_TABLE(%(products)s, '$[*]' COLUMNS (
         product_id  BIGINT UNSIGNED PATH '$.product_id',
         price_cents INT UNSIGNED    PATH '$.price_cents',
         available   BIGINT          PATH '$.available'
       )) AS listed
    ON DUPLICATE KEY UPDATE product_id = stock.product_id

-- name: add_first_restocks
-- The same quantities as restocks, under ids made from the product's.
INSERT INTO restocks (restock_id, product_id, quantity, restocked_at)
SELECT UNHEX(restock_id), product_id, available, UTC_TIMESTAMP(6)
  FROM JSON_TABLE(%(products)s, '$[*]' COLUMNS (
         restock_id CHAR(32)        PATH '$.restock_id',
         product_id BIGINT UNSIGNED PATH '$.product_id',
         available  INT UNSIGNED    PATH '$.available'
       )) AS listed
    ON DUPLICATE KEY UPDATE restock_id = restocks.restock_id

-- name: existing_stock
-- Those of these products that have a row (a snapshot read).
WITH existing AS (
  SELECT product_id FROM JSON_TABLE(%(product_ids)s, '$[*]' COLUMNS (product_id BIGINT UNSIGNED PATH '$')) AS ids
)
SELECT stock.product_id
  FROM existing STRAIGHT_JOIN stock FORCE INDEX (PRIMARY) ON stock.product_id = existing.product_id
