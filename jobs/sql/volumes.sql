-- Payments and refunds of each merchant in each minute of event time.
-- The aggregate has no window: a late event corrects its minute's row, however late it comes, until the row's state has
-- been idle for `volumes_state_days`. A cancellation gives the whole amount back, so it counts as a refund.
CREATE TEMPORARY TABLE volumes (
  merchant_id STRING,
  minute_us BIGINT,
  payments BIGINT,
  amount_minor BIGINT,
  refunds BIGINT,
  refunded_minor BIGINT,
  record_at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp',
  PRIMARY KEY (merchant_id, minute_us) NOT ENFORCED
) WITH (
  'connector' = 'upsert-kafka',
  'topic' = 'volumes',
  'properties.bootstrap.servers' = '${bootstrap}',
  'properties.transaction.timeout.ms' = '${transaction_timeout_ms}',
  'sink.delivery-guarantee' = 'exactly-once',
  'sink.transactional-id-prefix' = '${transactional_id_prefix}',
  'sink.transaction-naming-strategy' = 'POOLING',
  'key.format' = 'json',
  'value.format' = 'json'
);

INSERT INTO volumes
SELECT
  merchant_id,
  minute_us,
  SUM(payments),
  SUM(paid_minor),
  SUM(refunds),
  SUM(refunded_minor),
  MAX(record_at)
FROM (
  SELECT
    body.merchant_id AS merchant_id,
    occurred_at_us - MOD(occurred_at_us, 60000000) AS minute_us,
    IF(event_type IN ('PaymentCompleted', 'PaymentCaptured'), 1, 0) AS payments,
    CASE event_type
      WHEN 'PaymentCompleted' THEN body.amount_minor
      WHEN 'PaymentCaptured' THEN body.captured_minor
      ELSE 0
    END AS paid_minor,
    IF(event_type IN ('RefundCompleted', 'PaymentCanceled'), 1, 0) AS refunds,
    IF(event_type IN ('RefundCompleted', 'PaymentCanceled'), body.amount_minor, 0) AS refunded_minor,
    record_at
  FROM events
  WHERE event_type IN ('PaymentCompleted', 'RefundCompleted', 'PaymentCanceled')
     OR (event_type = 'PaymentCaptured' AND body.captured_minor > 0)
)
GROUP BY merchant_id, minute_us;
