-- Phantom write skew
-- id: P12
-- what: A voucher is good for one order; two transactions find none that has used it, and both insert one. There is
--       no row that both could lock or overwrite, so nothing short of SERIALIZABLE sees a conflict.
-- cure: Lock a row that stands for the whole set, here the voucher, before looking; or a unique constraint, where
--       there is one to state.
-- relies: jobs/orders/locks.py, sql/orders/locks.sql
-- harm: after: SELECT order_id FROM orders  -> (7) (8)

-- setup
CREATE TABLE vouchers (voucher VARCHAR(16) PRIMARY KEY, uses INT);
CREATE TABLE orders (order_id INT PRIMARY KEY, voucher VARCHAR(16));
INSERT INTO vouchers VALUES ('SPRING', 1);

-- schedule: wrong
BEGIN;                                                             -- T1
BEGIN;                                                             -- T2
SELECT COUNT(*) INTO @used FROM orders WHERE voucher = 'SPRING';   -- T1
SELECT COUNT(*) INTO @used FROM orders WHERE voucher = 'SPRING';   -- T2
INSERT INTO orders SELECT 7, 'SPRING' FROM DUAL WHERE @used < 1;   -- T1
INSERT INTO orders SELECT 8, 'SPRING' FROM DUAL WHERE @used < 1;   -- T2
COMMIT;                                                            -- T1
COMMIT;                                                            -- T2
SELECT order_id FROM orders;                                       -- after

-- schedule: right
BEGIN;                                                             -- T1
BEGIN;                                                             -- T2
SELECT uses FROM vouchers WHERE voucher = 'SPRING' FOR UPDATE;     -- T1
SELECT uses FROM vouchers WHERE voucher = 'SPRING' FOR UPDATE;     -- T2
SELECT COUNT(*) INTO @used FROM orders WHERE voucher = 'SPRING';   -- T1
SELECT COUNT(*) INTO @used FROM orders WHERE voucher = 'SPRING';   -- T2
INSERT INTO orders SELECT 7, 'SPRING' FROM DUAL WHERE @used < 1;   -- T1
INSERT INTO orders SELECT 8, 'SPRING' FROM DUAL WHERE @used < 1;   -- T2
COMMIT;                                                            -- T1
COMMIT;                                                            -- T2
SELECT order_id FROM orders;                                       -- after
