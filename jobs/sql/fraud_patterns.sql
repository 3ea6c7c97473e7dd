-- T01, payment velocity: at least 6 payments at 4 merchants within 60 s, or 100,000 yen within 10 min, of one wallet.
-- Event time has whole milliseconds, so the windows do too: both ends count, and the first one is cut to its millisecond.
-- Each payment that makes the pattern complete gives a signal; signals of one burst become one alert downstream.
--
-- Windows close as event time passes, and with payments alone it would stand still behind the last one: a burst that
-- nothing follows would never be told. So a tick a second moves it on once every partition has been idle for a while. It
-- also keeps event time from running ahead of the clock.
CREATE TEMPORARY TABLE ticks (
  tick BIGINT,
  occurred_at AS CAST(CURRENT_TIMESTAMP AS TIMESTAMP_LTZ(3)),
  WATERMARK FOR occurred_at AS occurred_at - INTERVAL '${watermark_delay_s}' SECOND
) WITH (
  'connector' = 'datagen',
  'rows-per-second' = '1'
);

CREATE TEMPORARY TABLE fraud_signals (
  signal_id STRING,
  typology STRING,
  wallet_id STRING,
  at_us BIGINT,
  window_start_us BIGINT,
  event_id STRING,
  payments BIGINT,
  merchants BIGINT,
  amount_minor BIGINT,
  record_at TIMESTAMP_LTZ(3) METADATA FROM 'timestamp'
) WITH (
  'connector' = 'kafka',
  'topic' = 'fraud-signals',
  'properties.bootstrap.servers' = '${bootstrap}',
  'sink.delivery-guarantee' = 'at-least-once',
  'key.format' = 'raw',
  'key.fields' = 'wallet_id',
  'value.format' = 'json'
);

INSERT INTO fraud_signals
SELECT
  CONCAT('T01:', event_id),
  'T01',
  wallet_id,
  occurred_at_us,
  occurred_at_us - MOD(occurred_at_us, 1000) - IF(is_burst, 60000000, 600000000),
  event_id,
  IF(is_burst, payments_60s, payments_10min),
  IF(is_burst, merchants_60s, merchants_10min),
  IF(is_burst, amount_60s, amount_10min),
  record_at
FROM (
  SELECT *, payments_60s >= 6 AND merchants_60s >= 4 AS is_burst
  FROM (
    SELECT
      *,
      COUNT(*) OVER long_window AS payments_10min,
      COUNT(DISTINCT merchant_id) OVER long_window AS merchants_10min,
      SUM(amount_minor) OVER long_window AS amount_10min
    FROM (
      SELECT
        *,
        COUNT(*) OVER short_window AS payments_60s,
        COUNT(DISTINCT merchant_id) OVER short_window AS merchants_60s,
        SUM(amount_minor) OVER short_window AS amount_60s
      FROM (
        SELECT
          event_id, occurred_at_us, occurred_at, record_at,
          body.wallet_id AS wallet_id, body.merchant_id AS merchant_id, body.amount_minor AS amount_minor
        FROM events
        WHERE event_type = 'PaymentCompleted'
        UNION ALL
        SELECT '', CAST(0 AS BIGINT), occurred_at, occurred_at, '', '', CAST(0 AS BIGINT) FROM ticks
      )
      WINDOW short_window AS (
        PARTITION BY wallet_id ORDER BY occurred_at RANGE BETWEEN INTERVAL '60' SECOND PRECEDING AND CURRENT ROW)
    )
    WINDOW long_window AS (
      PARTITION BY wallet_id ORDER BY occurred_at RANGE BETWEEN INTERVAL '10' MINUTE PRECEDING AND CURRENT ROW)
  )
)
WHERE is_burst OR amount_10min >= 100000;
