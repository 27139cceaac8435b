-- Session time zone
-- id: X03
-- what: NOW() is the clock of the session's time zone, and a DATETIME keeps no zone. One connection that was left in
--       another zone dates its orders two hours ahead, and the later order looks like the earlier.
-- cure: UTC_TIMESTAMP(), which no session changes, and the zone set on every connection besides.
-- relies: sql/orders/orders.sql, sql/orders/stock.sql, sql/outbox.sql, worker/database/connections.py
-- harm: after: SELECT id FROM orders ORDER BY placed_at, id  -> (2) (1)

-- setup
CREATE TABLE orders (id INT PRIMARY KEY, placed_at DATETIME(6));

-- schedule: wrong
SET SESSION time_zone = '+02:00';                  -- T1
INSERT INTO orders VALUES (1, NOW(6));             -- T1
INSERT INTO orders VALUES (2, NOW(6));             -- T2
SELECT id FROM orders ORDER BY placed_at, id;      -- after

-- schedule: right
SET SESSION time_zone = '+02:00';                  -- T1
INSERT INTO orders VALUES (1, UTC_TIMESTAMP(6));   -- T1
INSERT INTO orders VALUES (2, UTC_TIMESTAMP(6));   -- T2
SELECT id FROM orders ORDER BY placed_at, id;      -- after
