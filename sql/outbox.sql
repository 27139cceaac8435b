-- name: insert_events
-- One event an outcome, in the order of the array.
INSERT INTO outbox (order_id, kind, body, recorded_at, traceparent)
SELECT UNHEX(order_id), kind, body, UTC_TIMESTAMP(6), traceparent
  FROM JSON_TABLE(%(events)s, '$[*]' COLUMNS (
         order_id    CHAR(32)    PATH '$[0]',
         kind        VARCHAR(32) PATH '$[1]',
         body        TEXT        CHARACTER SET utf8mb4 PATH '$[2]',
         traceparent CHAR(55)    PATH '$[3]'
       )) AS happened

-- name: next_events
-- The oldest events that no earlier one of the same order stands before: id, size, age (a snapshot read).
SELECT JSON_ARRAYAGG(JSON_ARRAY(event_id, body_bytes, age_microseconds)) AS events
  FROM (
    SELECT outbox.event_id, LENGTH(outbox.body) AS body_bytes,
           TIMESTAMPDIFF(MICROSECOND, outbox.recorded_at, UTC_TIMESTAMP(6)) AS age_microseconds
      FROM outbox FORCE INDEX (PRIMARY)
      LEFT JOIN outbox AS earlier FORCE INDEX (outbox_of_order)
             ON earlier.order_id = outbox.order_id AND earlier.event_id < outbox.event_id
     WHERE outbox.event_id > %(after)s AND earlier.event_id IS NULL
     ORDER BY outbox.event_id
     LIMIT %(size)s
  ) AS oldest

-- name: delete_events
-- By primary key, and exactly these: a smaller id may be committed later than a greater one.
DELETE outbox
  FROM JSON_TABLE(%(event_ids)s, '$[*]' COLUMNS (event_id BIGINT UNSIGNED PATH '$')) AS ids
       STRAIGHT_JOIN outbox FORCE INDEX (PRIMARY) ON outbox.event_id = ids.event_id

-- name: add_published_events
-- The last statement of its transaction: all relays write these few rows.
INSERT INTO published_events (kind, events)
SELECT kind, events
  FROM JSON_TABLE(%(counts)s, '$[*]' COLUMNS (
         kind   VARCHAR(32) PATH '$[0]',
         events BIGINT      PATH '$[1]'
       )) AS counted
    ON DUPLICATE KEY UPDATE events = published_events.events + counted.events
