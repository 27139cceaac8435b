-- What the comparison of an empty and a long history needs besides the jobs.

-- name: restock_all
-- Enough of everything for all rounds.
INSERT INTO restocks (restock_id, product_id, quantity, restocked_at)
SELECT UNHEX(LEFT(SHA2(CONCAT('scale ', product_id), 256), 32)), product_id, 1000000, UTC_TIMESTAMP(6) FROM stock

-- name: fill_stock
-- The same in stock.
UPDATE stock SET available = available + 1000000

-- name: lift_limits
-- So that every order is placed.
UPDATE customers SET credit_limit_cents = NULL

-- name: history_length
-- Transactions whose undo logs the server keeps for an older snapshot, or has not yet purged.
SELECT COUNT AS length FROM information_schema.INNODB_METRICS WHERE NAME = 'trx_rseg_history_len'

-- name: table_bytes
-- Data and indexes of all tables.
SELECT SUM(DATA_LENGTH + INDEX_LENGTH) AS bytes FROM information_schema.TABLES WHERE TABLE_SCHEMA = DATABASE()

-- name: some_orders
-- Some orders that are there.
SELECT LOWER(HEX(order_id)) AS order_id FROM orders ORDER BY order_id LIMIT 1000
