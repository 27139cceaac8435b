-- migrate:up

-- When an order was recorded: `placed_at` is what its maker says, and may lie years back. The purge goes by both.
ALTER TABLE orders ADD COLUMN recorded_at DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)
  COMMENT 'UTC, as every session of Lockstep';

-- The events of an order: the audit counts them, and the purge removes them.
CREATE INDEX outbox_of_order ON outbox (order_id, kind);

-- What the orders that were purged took: stock = restocks - lines of the orders that are there - this.
CREATE TABLE purged_sales (
  product_id BIGINT UNSIGNED NOT NULL PRIMARY KEY,
  quantity   BIGINT UNSIGNED NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4;

-- What the orders that were purged came to: balance = totals of the orders that are there + this.
CREATE TABLE purged_totals (
  customer_id BIGINT UNSIGNED NOT NULL PRIMARY KEY,
  total_cents BIGINT UNSIGNED NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4;

-- migrate:down

DROP TABLE purged_sales, purged_totals;
DROP INDEX outbox_of_order ON outbox;
ALTER TABLE orders DROP COLUMN recorded_at;
