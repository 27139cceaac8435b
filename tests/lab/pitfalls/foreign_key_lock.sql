-- Foreign key lock: an inserted child blocks its parent
-- id: P38
-- what: The foreign key of a new order line puts a shared lock on the product until the transaction ends. Whoever wants
--       to change that product, were it only its stock, waits, though the order did not touch it.
-- cure: Keep what changes often in a table of its own that no foreign key names.
-- relies: sql/migrations/20261122130000_create_orders.sql
-- harm: WHERE id = 1  <waits>

-- setup
CREATE TABLE products (id INT PRIMARY KEY, name VARCHAR(10), quantity INT);
CREATE TABLE stock (product_id INT PRIMARY KEY, quantity INT);
CREATE TABLE order_lines (order_id INT PRIMARY KEY, product_id INT, FOREIGN KEY (product_id) REFERENCES products (id));
INSERT INTO products VALUES (1, 'tea', 10);
INSERT INTO stock VALUES (1, 10);

-- schedule: wrong
BEGIN;                                                           -- T1
INSERT INTO order_lines VALUES (1, 1);                           -- T1
UPDATE products SET quantity = quantity + 5 WHERE id = 1;        -- T2
COMMIT;                                                          -- T1
SELECT quantity FROM products;                                   -- after

-- schedule: right
BEGIN;                                                           -- T1
INSERT INTO order_lines VALUES (1, 1);                           -- T1
UPDATE stock SET quantity = quantity + 5 WHERE product_id = 1;   -- T2
COMMIT;                                                          -- T1
SELECT quantity FROM stock;                                      -- after
