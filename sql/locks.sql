-- Every locking read of the machinery: events, each by ascending id, then staged orders, for which nobody waits: a service
-- may hold one for as long as it likes. All of them come after what a job locks.

-- name: lock_events
-- Those of these events that are still in the outbox, and that no other relay has in hand. It waits for nobody.
WITH wanted AS (
  SELECT event_id FROM JSON_TABLE(%(event_ids)s, '$[*]' COLUMNS (event_id BIGINT UNSIGNED PATH '$')) AS ids
)
SELECT COUNT(*) AS found, JSON_ARRAYAGG(JSON_ARRAY(outbox.event_id, HEX(outbox.order_id), outbox.kind, JSON_EXTRACT(outbox.body, '$'), outbox.recorded_at, outbox.traceparent)) AS locked
  FROM wanted STRAIGHT_JOIN outbox FORCE INDEX (PRIMARY) ON outbox.event_id = wanted.event_id
   FOR UPDATE SKIP LOCKED

-- name: lock_staged
-- The oldest orders of `intake` that nobody has enqueued, and that no other worker takes over at this moment.
SELECT LOWER(HEX(order_id)) AS order_id, request
  FROM intake FORCE INDEX (intake_by_enqueued)
 WHERE enqueued_at IS NULL
 ORDER BY staged_at
 LIMIT %(size)s
   FOR UPDATE SKIP LOCKED

-- name: lock_overdue
-- Those that were enqueued so long ago that they should have an outcome by now.
-- A time that is yet to come is nobody's but the stager's: it must hide no order.
SELECT LOWER(HEX(order_id)) AS order_id, request
  FROM intake FORCE INDEX (intake_by_enqueued)
 WHERE enqueued_at < UTC_TIMESTAMP(6) - INTERVAL %(overdue_seconds)s SECOND
    OR enqueued_at > UTC_TIMESTAMP(6) + INTERVAL %(overdue_seconds)s SECOND
 ORDER BY enqueued_at, staged_at
 LIMIT %(size)s
   FOR UPDATE SKIP LOCKED

-- name: free_staged
-- Those of these orders that are still staged and that nobody holds; the others are passed over.
WITH wanted AS (
  SELECT order_id FROM JSON_TABLE(%(order_ids)s, '$[*]' COLUMNS (order_id CHAR(32) PATH '$')) AS ids
)
SELECT COUNT(*) AS found, JSON_ARRAYAGG(JSON_ARRAY(LOWER(HEX(intake.order_id)))) AS locked
  FROM wanted STRAIGHT_JOIN intake FORCE INDEX (PRIMARY) ON intake.order_id = UNHEX(wanted.order_id)
   FOR UPDATE SKIP LOCKED

-- name: free_requests
-- The same with what they ask for, a row each: together they may be larger than one array can be.
WITH wanted AS (
  SELECT order_id FROM JSON_TABLE(%(order_ids)s, '$[*]' COLUMNS (order_id CHAR(32) PATH '$')) AS ids
)
SELECT LOWER(HEX(intake.order_id)) AS order_id, intake.request
  FROM wanted STRAIGHT_JOIN intake FORCE INDEX (PRIMARY) ON intake.order_id = UNHEX(wanted.order_id)
   FOR UPDATE SKIP LOCKED
