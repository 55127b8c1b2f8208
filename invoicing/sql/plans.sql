select plan_id, version, terms, applied_at, applied_by from invoicing.plan
where $1::text is null or plan_id = $1
order by plan_id, version
