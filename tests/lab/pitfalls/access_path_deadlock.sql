-- Deadlock of two access paths: one statement each
-- id: P24
-- what: Two UPDATEs of the same rows walk them through different indexes, so each locks them in the order of its own
--       index. A single statement a transaction is enough: T3 only holds both up in the middle.
-- cure: One access path for everybody who changes several rows: the primary key.
-- relies: sql/orders/stock.sql, sql/orders/customers.sql, sql/orders/locks.sql
-- harm: <error 1213>

-- setup
CREATE TABLE stock (id INT PRIMARY KEY, shelf INT, supplier INT, quantity INT,
                    INDEX by_shelf (shelf), INDEX by_supplier (supplier));
INSERT INTO stock VALUES (1, 10, 30, 10), (2, 20, 20, 10), (3, 30, 10, 10);

-- schedule: wrong, victim T1 or T2
BEGIN;                                                                                   -- T3
SELECT id FROM stock WHERE id = 2 FOR UPDATE;                                            -- T3
UPDATE stock FORCE INDEX (by_shelf) SET quantity = quantity + 5 WHERE shelf > 0;         -- T1
UPDATE stock FORCE INDEX (by_supplier) SET quantity = quantity + 5 WHERE supplier > 0;   -- T2
COMMIT;                                                                                  -- T3
SELECT id, quantity FROM stock;                                                          -- after

-- schedule: right
BEGIN;                                                                                   -- T3
SELECT id FROM stock WHERE id = 2 FOR UPDATE;                                            -- T3
UPDATE stock FORCE INDEX (PRIMARY) SET quantity = quantity + 5 WHERE shelf > 0;          -- T1
UPDATE stock FORCE INDEX (PRIMARY) SET quantity = quantity + 5 WHERE supplier > 0;       -- T2
COMMIT;                                                                                  -- T3
SELECT id, quantity FROM stock;                                                          -- after
