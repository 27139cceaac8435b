-- migrate:up

-- How many events were published, and so have left the outbox, of the orders that are there: what the purge removes
-- is taken off. The audit needs it to miss an event that was neither published nor is in the outbox.
CREATE TABLE published_events (
  kind   VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  events BIGINT      NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET = utf8mb4;

-- migrate:down

DROP TABLE published_events;
