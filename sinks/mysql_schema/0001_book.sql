-- The book: every journal entry, its lines with the running sums of their accounts, and how far each lane is complete.
-- Runs on MariaDB 11 and MySQL 8. Amounts are yen, times microseconds since the epoch in UTC.

CREATE TABLE book_lanes (
  lane           SMALLINT UNSIGNED NOT NULL PRIMARY KEY,
  next_position  BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'offset behind the last entry in the book',
  chains         INT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'chains numbered so far',
  recorded_at_us BIGINT NOT NULL DEFAULT 0 COMMENT 'of the last entry in the book',
  complete_to_us BIGINT NOT NULL DEFAULT 0 COMMENT 'entries recorded up to here are in the book'
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Found by lane and offset when lines are joined to it, and by its id; whole, as it lies on the topic.
CREATE TABLE journal_entries (
  lane           SMALLINT UNSIGNED NOT NULL,
  position       BIGINT UNSIGNED NOT NULL COMMENT 'offset in the journal',
  entry_id       VARCHAR(200) NOT NULL,
  event_type     VARCHAR(64) NOT NULL,
  payment_id     VARCHAR(128) NULL,
  occurred_at_us BIGINT NOT NULL COMMENT 'business time',
  recorded_at_us BIGINT NOT NULL COMMENT 'when the ledger posted it; never goes back in a lane',
  body           MEDIUMTEXT NOT NULL COMMENT 'the entry in JSON',
  PRIMARY KEY (lane, position),
  UNIQUE KEY by_id (entry_id)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- A chain is an account's lines of one lane; its row is the last line's state.
CREATE TABLE book_chains (
  chain           BIGINT UNSIGNED NOT NULL PRIMARY KEY COMMENT 'lane << 32 | number in the lane',
  account         VARCHAR(160) NOT NULL,
  lane            SMALLINT UNSIGNED NOT NULL,
  sum_minor       BIGINT NOT NULL COMMENT 'debits less credits',
  line_count      INT UNSIGNED NOT NULL,
  recorded_at_us  BIGINT NOT NULL,
  occurred_max_us BIGINT NOT NULL,
  late_classes    INT UNSIGNED NOT NULL,
  UNIQUE KEY by_account (account, lane)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- Appended at the end of each chain. The primary key answers recorded time and statements, the other business time.
CREATE TABLE postings (
  chain           BIGINT UNSIGNED NOT NULL,
  recorded_at_us  BIGINT NOT NULL,
  number          INT UNSIGNED NOT NULL COMMENT 'counts the lines of the chain from 1',
  position        BIGINT UNSIGNED NOT NULL COMMENT 'of the entry, in the lane of the chain',
  line            TINYINT UNSIGNED NOT NULL,
  debit_minor     BIGINT NOT NULL COMMENT 'credits are negative',
  sum_minor       BIGINT NOT NULL COMMENT 'of the chain, up to here',
  occurred_at_us  BIGINT NOT NULL,
  occurred_max_us BIGINT NOT NULL COMMENT 'of the chain, up to here',
  late_class      TINYINT UNSIGNED NOT NULL COMMENT '0 in order, k when late by less than 16^k us',
  PRIMARY KEY (chain, recorded_at_us, number),
  KEY by_business_time (chain, late_class, occurred_at_us)
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;

-- The latest balance record of each account, as the ledger wrote it.
CREATE TABLE balances (
  item_key     VARCHAR(200) NOT NULL PRIMARY KEY COMMENT 'the account',
  version      BIGINT UNSIGNED NOT NULL,
  body         MEDIUMTEXT NOT NULL COMMENT 'the balance in JSON',
  posted_minor BIGINT AS (CAST(JSON_EXTRACT(body, '$.posted_minor') AS SIGNED)) VIRTUAL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin;
