-- How many requests to bill anew no worker has met yet, by algorithm.
select algorithm, count(*) as conversations from billing.recompute_request group by algorithm order by algorithm
