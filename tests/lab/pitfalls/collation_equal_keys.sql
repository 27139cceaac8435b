-- Keys that are equal to the collation
-- id: X04
-- what: A text key is compared by its collation, for which case (and on some servers a trailing space) makes no
--       difference. The order of another customer is taken for a repeat of the first and is never placed.
-- cure: Keys as bytes: BINARY or VARBINARY. An ascii_bin column still ignores trailing spaces.
-- relies: sql/migrations/20261122130000_create_orders.sql, sql/orders/orders.sql
-- harm: T2: INSERT INTO orders VALUES ('A1', 8)  <error 1062>

-- setup
CREATE TABLE orders (order_key VARCHAR(16) PRIMARY KEY, customer INT);
CREATE TABLE exact_orders (order_key VARBINARY(16) PRIMARY KEY, customer INT);

-- schedule: wrong
INSERT INTO orders VALUES ('a1', 7);                   -- T1
INSERT INTO orders VALUES ('A1', 8);                   -- T2
INSERT INTO orders VALUES ('a1 ', 9);                  -- T3
SELECT customer FROM orders ORDER BY customer;         -- after

-- schedule: right
INSERT INTO exact_orders VALUES ('a1', 7);             -- T1
INSERT INTO exact_orders VALUES ('A1', 8);             -- T2
INSERT INTO exact_orders VALUES ('a1 ', 9);            -- T3
SELECT customer FROM exact_orders ORDER BY customer;   -- after
