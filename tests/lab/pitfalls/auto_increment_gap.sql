-- Gaps in AUTO_INCREMENT
-- id: P61
-- what: An invoice takes its number from AUTO_INCREMENT and is rolled back; the number is not given back. The next
--       invoice has number 2, and no number 1 will ever be found.
-- cure: Where numbers must have no gaps, a counter row that is moved in the same transaction.
-- relies: nothing: ids come from the callers, and nobody counts with the outbox's event_id
-- harm: after: SELECT number, customer FROM invoices  -> (2, 8)

-- setup
CREATE TABLE invoices (number INT AUTO_INCREMENT PRIMARY KEY, customer INT);
CREATE TABLE counters (name VARCHAR(10) PRIMARY KEY, last INT);
INSERT INTO counters VALUES ('invoice', 0);

-- schedule: wrong
BEGIN;                                                                     -- T1
INSERT INTO invoices (customer) VALUES (7);                                -- T1
ROLLBACK;                                                                  -- T1
INSERT INTO invoices (customer) VALUES (8);                                -- T2
SELECT number, customer FROM invoices;                                     -- after

-- schedule: right
BEGIN;                                                                     -- T1
UPDATE counters SET last = last + 1 WHERE name = 'invoice';                -- T1
INSERT INTO invoices SELECT last, 7 FROM counters WHERE name = 'invoice';  -- T1
ROLLBACK;                                                                  -- T1
BEGIN;                                                                     -- T2
UPDATE counters SET last = last + 1 WHERE name = 'invoice';                -- T2
INSERT INTO invoices SELECT last, 8 FROM counters WHERE name = 'invoice';  -- T2
COMMIT;                                                                    -- T2
SELECT number, customer FROM invoices;                                     -- after
