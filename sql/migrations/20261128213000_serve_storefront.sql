-- migrate:up

-- What customers say of products. Their number and their sum are kept beside the product's name, in the transaction that
-- writes a review: a page that counted them would read a hundred thousand rows where a product has as many.
CREATE TABLE reviews (
  review_id   BINARY(16)       NOT NULL PRIMARY KEY,
  product_id  BIGINT UNSIGNED  NOT NULL,
  customer_id BIGINT UNSIGNED  NOT NULL,
  rating      TINYINT UNSIGNED NOT NULL,
  body        VARCHAR(2000)    NOT NULL,
  written_at  DATETIME(6)      NOT NULL,
  CONSTRAINT reviews_rating CHECK (rating BETWEEN 1 AND 5),
  KEY reviews_of_product (product_id, written_at) COMMENT 'reviews_of_product: the newest of a product, by time and (InnoDB adds the primary key) by id'
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4;

ALTER TABLE products
  ADD COLUMN review_count BIGINT UNSIGNED NOT NULL DEFAULT 0,
  ADD COLUMN rating_total BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'sum of the ratings';

-- Every order pays for it, so it has no column more than the history needs.
CREATE INDEX orders_of_customer ON orders (customer_id, placed_at)
  COMMENT 'orders_of_customer: a history, the newest first, by time and (InnoDB adds the primary key) by id';

-- migrate:down

DROP INDEX orders_of_customer ON orders;
ALTER TABLE products DROP COLUMN review_count, DROP COLUMN rating_total;
DROP TABLE reviews;
