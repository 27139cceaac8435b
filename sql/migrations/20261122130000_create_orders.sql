-- migrate:up

-- Money is in whole cents, times are DATETIME(6) in UTC, ids that callers make are UUIDs in BINARY(16).
-- No foreign key crosses an aggregate (orders to customers or products): each would take shared locks
-- outside the lock order. `lockstep audit` checks those references instead.

CREATE TABLE customers (
  customer_id        BIGINT UNSIGNED NOT NULL PRIMARY KEY,
  name               VARCHAR(255)    NOT NULL,
  credit_limit_cents BIGINT UNSIGNED NULL COMMENT 'NULL: no limit',
  balance_cents      BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'total of the placed and shipped orders',
  CONSTRAINT customers_within_limit CHECK (credit_limit_cents IS NULL OR balance_cents <= credit_limit_cents)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4;

-- The catalogue, apart from the stock: an order never locks it.
CREATE TABLE products (
  product_id  BIGINT UNSIGNED NOT NULL PRIMARY KEY,
  name        VARCHAR(255)    NOT NULL,
  description TEXT            NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4;

-- What an order locks. Signed, so that an oversold row meets the check and not error 1690.
CREATE TABLE stock (
  product_id  BIGINT UNSIGNED NOT NULL PRIMARY KEY,
  price_cents INT UNSIGNED    NOT NULL,
  available   BIGINT          NOT NULL,
  CONSTRAINT stock_never_negative CHECK (available >= 0)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4;

-- A rejection is a row too: the same order id always gets the same outcome.
CREATE TABLE orders (
  order_id            BINARY(16)      NOT NULL PRIMARY KEY,
  customer_id         BIGINT UNSIGNED NOT NULL,
  status              VARCHAR(16)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  reason              VARCHAR(32)     CHARACTER SET ascii COLLATE ascii_bin NULL COMMENT 'why it was rejected',
  rejected_product_id BIGINT UNSIGNED NULL COMMENT 'the product that was unknown or short',
  total_cents         BIGINT UNSIGNED NOT NULL,
  fingerprint         BINARY(16)      NOT NULL COMMENT 'of customer and lines: tells a repeat from other content',
  placed_at           DATETIME(6)     NOT NULL,
  CONSTRAINT orders_status CHECK (status IN ('placed', 'rejected', 'cancelled', 'shipped')),
  CONSTRAINT orders_reason CHECK ((status = 'rejected') = (reason IS NOT NULL))
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4;

CREATE TABLE order_lines (
  order_id         BINARY(16)      NOT NULL,
  product_id       BIGINT UNSIGNED NOT NULL,
  quantity         INT UNSIGNED    NOT NULL,
  unit_price_cents INT UNSIGNED    NOT NULL COMMENT 'the price when the order was placed',
  PRIMARY KEY (order_id, product_id),
  CONSTRAINT order_lines_of_order FOREIGN KEY (order_id) REFERENCES orders (order_id)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4;

-- All stock that ever came in, the first load included.
CREATE TABLE restocks (
  restock_id   BINARY(16)      NOT NULL PRIMARY KEY,
  product_id   BIGINT UNSIGNED NOT NULL,
  quantity     INT UNSIGNED    NOT NULL,
  restocked_at DATETIME(6)     NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4;

-- One event an outcome, written in the outcome's own transaction.
CREATE TABLE outbox (
  event_id    BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
  order_id    BINARY(16)      NOT NULL,
  kind        VARCHAR(32)     CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  body        JSON            NOT NULL,
  recorded_at DATETIME(6)     NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4;

-- migrate:down

DROP TABLE outbox, restocks, order_lines, orders, stock, products, customers;
