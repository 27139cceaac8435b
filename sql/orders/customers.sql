-- name: move_balances
-- Adds each amount (below zero: gives it back) to a row that this transaction has locked.
UPDATE JSON_TABLE(%(moves)s, '$[*]' COLUMNS (
         customer_id  BIGINT UNSIGNED PATH '$[0]',
         amount_cents BIGINT          PATH '$[1]'
       )) AS moved
       STRAIGHT_JOIN customers FORCE INDEX (PRIMARY) ON customers.customer_id = moved.customer_id
   SET customers.balance_cents = customers.balance_cents + moved.amount_cents

-- name: add_customers
-- The customers who are new; who is there already is left as they are.
INSERT INTO customers (customer_id, name, credit_limit_cents)
SELECT customer_id, name, credit_limit_cents
  FROM JSON_TABLE(%(customers)s, '$[*]' COLUMNS (
         customer_id        BIGINT UNSIGNED PATH '$.customer_id',
         name               VARCHAR(255)    CHARACTER SET utf8mb4 PATH '$.name',
         credit_limit_cents BIGINT UNSIGNED PATH '$.credit_limit_cents'
       )) AS listed
    ON DUPLICATE KEY UPDATE customer_id = customers.customer_id

-- name: existing_customers
-- Those of these ids that a customer has (a snapshot read).
WITH existing AS (
  SELECT customer_id FROM JSON_TABLE(%(customer_ids)s, '$[*]' COLUMNS (customer_id BIGINT UNSIGNED PATH '$')) AS ids
)
SELECT customers.customer_id
  FROM existing STRAIGHT_JOIN customers FORCE INDEX (PRIMARY) ON customers.customer_id = existing.customer_id
