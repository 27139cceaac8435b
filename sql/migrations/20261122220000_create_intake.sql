-- migrate:up

-- Orders that any service stages in a transaction of its own, with no more than the right to INSERT here: the contract
-- is in docs/intake.md. A request that can be no order for its size is refused where it is staged.
CREATE TABLE intake (
  order_id    BINARY(16)  NOT NULL PRIMARY KEY,
  request     JSON        NOT NULL,
  staged_at   DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)) COMMENT 'UTC, whatever the time zone of the session',
  enqueued_at DATETIME(6) NULL     COMMENT 'UTC; when it was enqueued for the last time',
  CONSTRAINT intake_request_size CHECK (LENGTH(request) <= 65536),
  KEY intake_by_enqueued (enqueued_at, staged_at)
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4;

-- migrate:down

DROP TABLE intake;
