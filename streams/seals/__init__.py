"""The sealer: fixes what each lane wrote to journal and balances in windows of time, chained, for the audit."""
