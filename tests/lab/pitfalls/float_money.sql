-- Money in floating point
-- id: X01
-- what: A DOUBLE has no exact tenth, so three times 0.10 and a payment of 0.30 do not make nothing. The customer is
--       reminded of a debt that no coin can pay.
-- cure: Whole cents in an integer (or DECIMAL).
-- relies: sql/migrations/20261122130000_create_orders.sql, jobs/orders/decision.py
-- harm: after: SELECT id FROM customers WHERE balance > 0  -> (1)

-- setup
CREATE TABLE customers (id INT PRIMARY KEY, balance DOUBLE, balance_cents BIGINT);
INSERT INTO customers VALUES (1, 0, 0);

-- schedule: wrong
UPDATE customers SET balance = balance + 0.1 WHERE id = 1;             -- T1
UPDATE customers SET balance = balance + 0.1 WHERE id = 1;             -- T1
UPDATE customers SET balance = balance + 0.1 WHERE id = 1;             -- T1
UPDATE customers SET balance = balance - 0.3 WHERE id = 1;             -- T1
SELECT id FROM customers WHERE balance > 0;                            -- after

-- schedule: right
UPDATE customers SET balance_cents = balance_cents + 10 WHERE id = 1;  -- T1
UPDATE customers SET balance_cents = balance_cents + 10 WHERE id = 1;  -- T1
UPDATE customers SET balance_cents = balance_cents + 10 WHERE id = 1;  -- T1
UPDATE customers SET balance_cents = balance_cents - 30 WHERE id = 1;  -- T1
SELECT id FROM customers WHERE balance_cents > 0;                      -- after
