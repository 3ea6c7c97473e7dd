-- A house account can have many late lines at an instant. Their sum is read from the index alone; of lines in
-- order, latest and own business time are the same, so that the index still has them in the chain's order.
ALTER TABLE postings
  DROP KEY by_business_time,
  ADD KEY by_business_time (chain, late_class, occurred_at_us, occurred_max_us, number, debit_minor);
