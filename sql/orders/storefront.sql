-- What the shop's pages show, and how a review is written. The reads are snapshot reads, outside of any transaction. None
-- looks at more rows than its page has, however long the history behind it is: a page goes on by the key where the
-- one before it ended, since OFFSET would read what it passes over. Each comes as one JSON text, which the models
-- read: for a driver written in Python the rows of a page cost more than to find them.

-- name: product
-- A product as the shop shows it.
SELECT JSON_OBJECT('product_id', products.product_id, 'name', products.name, 'description', products.description,
                   'price_cents', stock.price_cents, 'available', stock.available) AS product
  FROM products JOIN stock ON stock.product_id = products.product_id
 WHERE products.product_id = %(product_id)s

-- name: page_of_products
-- The next products, by ascending id.
SELECT COALESCE(JSON_ARRAYAGG(JSON_OBJECT(
         'product_id', page.product_id, 'name', page.name, 'description', page.description,
         'price_cents', page.price_cents, 'available', page.available)), JSON_ARRAY()) AS products
  FROM (
    SELECT products.product_id, products.name, products.description, stock.price_cents, stock.available
      FROM products FORCE INDEX (PRIMARY)
           STRAIGHT_JOIN stock FORCE INDEX (PRIMARY) ON stock.product_id = products.product_id
     WHERE products.product_id > %(after)s
     ORDER BY products.product_id
     LIMIT %(size)s
  ) AS page

-- name: reviews_of_product
-- What customers say of a product: how many do, their average, and the newest.
SELECT JSON_OBJECT(
         'count', products.review_count,
         'average', ROUND(products.rating_total / NULLIF(products.review_count, 0), 2),
         'newest', (
           SELECT COALESCE(JSON_ARRAYAGG(JSON_OBJECT(
                    'review_id', LOWER(HEX(page.review_id)), 'product_id', page.product_id,
                    'customer_id', page.customer_id, 'customer_name', customers.name,
                    'rating', page.rating, 'body', page.body, 'written_at', page.written_at)), JSON_ARRAY())
             FROM (
               SELECT review_id, product_id, customer_id, rating, body, written_at
                 FROM reviews FORCE INDEX (reviews_of_product)
                WHERE product_id = %(product_id)s
                ORDER BY reviews.written_at DESC, reviews.review_id DESC
                LIMIT %(size)s
             ) AS page
             LEFT JOIN customers ON customers.customer_id = page.customer_id
         )) AS reviews
  FROM products
 WHERE products.product_id = %(product_id)s

-- name: orders_of_customer
-- A customer, and the newest orders that come before a moment and an id, with their lines.
SELECT JSON_OBJECT(
         'customer_id', customers.customer_id,
         'name', customers.name,
         'orders', (
           SELECT COALESCE(JSON_ARRAYAGG(JSON_OBJECT(
                    'order_id', LOWER(HEX(page.order_id)), 'status', page.status, 'reason', page.reason,
                    'rejected_product_id', page.rejected_product_id, 'total_cents', page.total_cents,
                    'placed_at', page.placed_at, 'lines', (
                      SELECT COALESCE(JSON_ARRAYAGG(JSON_OBJECT(
                               'product_id', order_lines.product_id, 'name', products.name,
                               'quantity', order_lines.quantity,
                               'unit_price_cents', order_lines.unit_price_cents)), JSON_ARRAY())
                        FROM order_lines FORCE INDEX (PRIMARY)
                        LEFT JOIN products ON products.product_id = order_lines.product_id
                       WHERE order_lines.order_id = page.order_id
                    ))), JSON_ARRAY())
             FROM (
               SELECT order_id, status, reason, rejected_product_id, total_cents, placed_at
                 FROM orders FORCE INDEX (orders_of_customer)
                WHERE customer_id = %(customer_id)s
                  AND (placed_at < %(before)s OR (placed_at = %(before)s AND order_id < UNHEX(%(before_id)s)))
                ORDER BY orders.placed_at DESC, orders.order_id DESC
                LIMIT %(size)s
             ) AS page
         )) AS customer
  FROM customers
 WHERE customers.customer_id = %(customer_id)s

-- name: parties_of_review
-- Whether a review names a product and a customer that are there; neither is ever removed.
SELECT EXISTS (SELECT 1 FROM products WHERE product_id = %(product_id)s) AS product,
       EXISTS (SELECT 1 FROM customers WHERE customer_id = %(customer_id)s) AS customer

-- name: count_review
-- Before the review itself, so that reviews of one product are written one after the other.
UPDATE products
   SET review_count = review_count + 1, rating_total = rating_total + %(rating)s
 WHERE product_id = %(product_id)s

-- name: insert_review
-- Error 1062 tells that this review is known already.
INSERT INTO reviews (review_id, product_id, customer_id, rating, body, written_at)
VALUES (UNHEX(%(review_id)s), %(product_id)s, %(customer_id)s, %(rating)s, %(body)s, UTC_TIMESTAMP(6))

-- name: review
-- A review that was written before.
SELECT JSON_OBJECT('review_id', LOWER(HEX(reviews.review_id)), 'product_id', reviews.product_id,
                   'customer_id', reviews.customer_id, 'customer_name', customers.name,
                   'rating', reviews.rating, 'body', reviews.body, 'written_at', reviews.written_at) AS review
  FROM reviews LEFT JOIN customers ON customers.customer_id = reviews.customer_id
 WHERE reviews.review_id = UNHEX(%(review_id)s)
