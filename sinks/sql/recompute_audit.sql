select recomputation_number, algorithm, conversations, actor, why, requested_at from billing.recomputation
order by recomputation_number
